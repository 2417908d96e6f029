"""Pages of lists: arguments and page info (Relay's cursor connections specification)."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Annotated

import strawberry
from strawberry.relay import PageInfo

from gqlplugin.errors import FieldProblem, InvalidInputError

MAX_PAGE = 100
"""Most runs that are shown at once."""

First = Annotated[int, strawberry.argument(description=f"How many, at most {MAX_PAGE}.")]
After = Annotated[str | None, strawberry.argument(description="The cursor of the run to go on after.")]


IS_PAGE = MappingProxyType({"gqlplugin_page": True})
"""The metadata of a field that calls `check_first`."""


def check_first(first: int) -> None:
    """Refuse a page that is too long, or has no length.

    Raises:
        InvalidInputError: It is refused.
    """
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInputError(problems=[FieldProblem(("first",), f"It must be from 1 to {MAX_PAGE}.")])


def page_info(cursors: Sequence[str], *, has_next: bool, after: str | None) -> PageInfo:
    """Where a page is in its list."""
    return PageInfo(
        has_next_page=has_next,
        has_previous_page=after is not None,
        start_cursor=cursors[0] if cursors else None,
        end_cursor=cursors[-1] if cursors else None,
    )
