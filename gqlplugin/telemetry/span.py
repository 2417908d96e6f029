"""What the rest of gqlplugin has of a span, whether it is recorded or not."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Span:
    """A span that nobody records. Entering one makes it the current one; leaving it ends it.

    What clients, users or exceptions say is never told to one: it may be a secret.
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it, as failed when an exception passes that is one."""

    def rename(self, name: str) -> None:
        """Name it anew, where its name was not known when it began."""

    def note(self, key: str, value: str | int | bool) -> None:
        """Set an attribute."""

    def ended(self, status: str, code: str | None = None) -> None:
        """Say how the run or the job ended, or why it went no further.

        Args:
            status: A status, as the API has it.
            code: The stable code of the error that it failed with.
        """

    def fail(self, code: str) -> None:
        """Mark it as failed.

        Args:
            code: A stable code, or the name of an exception's class.
        """

    def leave(self) -> None:
        """End it now; leaving it later does nothing more."""


class Start(Span):
    """The span of a start, which is counted as well."""

    __slots__ = ()

    def began(self, *run_ids: str) -> None:
        """Say which runs it began."""


NO_SPAN = Span()
NO_START = Start()
