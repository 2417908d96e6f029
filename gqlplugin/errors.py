"""The errors gqlplugin raises: one base class, few subclasses, each with a stable code.

The message of an error here is written for the caller of the API, except where `is_public` returns False. Such an
error, and one of any other class, is internal and never reaches a client.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from opcode import opmap
from types import CodeType
from typing import Any, ClassVar

from typing_extensions import TypeIs

HOW_TO_RUN = (
    "If it is served, the lifespan has not run: serve what create_asgi(app, platform) returns, or write "
    "lifespan=lifespan(app, platform) in the outermost Starlette(...) or FastAPI(...), as a mounted app's own lifespan "
    "is never run. Elsewhere, enter `async with platform, platform.execute(app):`."
)
"""What to do about an app or a platform that does not run."""


def plain_text(value: object) -> str:
    """The text of a value as every journal, database and protocol takes it: UTF-8 without NUL.

    Other characters, as `os.fsdecode` makes them of a file name that is not UTF-8, are replaced by their escapes.
    """
    try:
        text = str(value)
    except BaseException as error:
        text = f"<{type(value).__qualname__}, whose text can't be read: {type(contained(error)).__qualname__}>"
    if not text.isascii():
        text = text.encode(errors="backslashreplace").decode()
    return text.replace("\0", "\\x00") if "\0" in text else text


class GqlpluginError(Exception):
    """Something went wrong in gqlplugin.

    The default message of every subclass is the first line of its docstring. `code` is what a GraphQL client finds in
    `extensions.code`; `retryable` tells it whether the same request can succeed later.
    """

    code: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])

    @property
    def message(self) -> str:
        """What went wrong and what to do, safe to show to the caller."""
        return plain_text(self)


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One value that failed validation: where it is, and why it was refused."""

    path: tuple[str | int, ...]
    message: str


class InvalidInputError(GqlpluginError):
    """The input is not valid."""

    code = "BAD_USER_INPUT"

    def __init__(self, message: str | None = None, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class UnauthenticatedError(GqlpluginError):
    """This needs a caller: authenticate first."""

    code = "UNAUTHENTICATED"


class AuthenticationUnavailableError(GqlpluginError):
    """Who is calling can't be found out right now: try again later."""

    code = "AUTHENTICATION_UNAVAILABLE"
    retryable = True


class ForbiddenError(GqlpluginError):
    """The caller may not do this."""

    code = "FORBIDDEN"


class NotFoundError(GqlpluginError):
    """There is no such thing."""

    code = "NOT_FOUND"


class FailedPreconditionError(GqlpluginError):
    """The current state does not allow this."""

    code = "FAILED_PRECONDITION"


class SetupError(FailedPreconditionError):
    """The server is not set up for this.

    The message is for those who write and run the server: it is logged, and a client gets an internal error.
    """


class IdempotencyKeyReusedError(GqlpluginError):
    """This idempotency key was used for another request: use a new key for other arguments."""

    code = "IDEMPOTENCY_KEY_REUSED"


class PlatformUnavailableError(GqlpluginError):
    """The workflow platform can't answer right now: try again later."""

    code = "PLATFORM_UNAVAILABLE"
    retryable = True


class OutcomeUnknownError(GqlpluginError):
    """The workflow platform did not answer, and may have done what was asked: look before you ask again."""

    code = "OUTCOME_UNKNOWN"


class PlatformCredentialsError(GqlpluginError):
    """The workflow platform refuses the credentials of this server."""

    code = "PLATFORM_CREDENTIALS"


class UnsupportedError(GqlpluginError):
    """This platform can't do this."""

    code = "UNSUPPORTED"


class PlatformNotBoundError(GqlpluginError):
    """No platform is bound: mount the app with create_asgi(app, platform), or call inside `async with platform:`."""

    code = "PLATFORM_NOT_BOUND"


class DefinitionError(GqlpluginError):
    """The definitions don't fit together.

    `problems` lists every one that was found, not only the first.
    """

    code = "INVALID_DEFINITION"

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        count = len(self.problems)
        heading = f"{count} problems in the definitions:\n- " if count > 1 else ""
        super().__init__(heading + "\n- ".join(self.problems))


class ReplayError(GqlpluginError):
    """A job did not repeat the triggers that its run has recorded: code around triggers must be deterministic."""

    code = "REPLAY_MISMATCH"


class WaitTimedOutError(GqlpluginError):
    """Nobody resolved the wait point in time."""

    code = "WAIT_TIMED_OUT"


class JobFailedError(GqlpluginError):
    """A job failed.

    `job.trigger()` raises it when the triggered job failed. Raise it yourself in a job for a failure whose message the
    caller may read; the text of any other exception stays with the operators.

    Args:
        message: What the caller may know.
        code: A stable code of your own, `JOB_FAILED` by default.
        may_retry: Whether another try can end otherwise: False ends the run whatever its retry policy says.
        retry_after: How long to wait for the next try, instead of the policy's own wait.

    Raises:
        TypeError: `retry_after` is not a timedelta.
    """

    code = "JOB_FAILED"

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str = "JOB_FAILED",
        may_retry: bool = True,
        retry_after: timedelta | None = None,
    ) -> None:
        if not isinstance(retry_after, timedelta | None):
            raise TypeError(
                f"JobFailedError(retry_after=) takes a timedelta, such as timedelta(seconds=30), not {retry_after!r}"
            )
        super().__init__(message)
        self.job_code = code
        self.may_retry = may_retry
        self.retry_after = retry_after


class Interruption(BaseException):
    """What runs stops here, and goes on later. Not an `Exception`: no body takes it for a failure of its own."""


class EscapedError(Exception):
    """A function of the app raised something that is no `Exception`, such as `SystemExit` or a Rust panic."""


def is_failure(error: BaseException) -> bool:
    """Whether what a function of the app raised is its own failure, rather than the end of what runs it.

    A failure is also what would end the process or the event loop: `sys.exit()`, `raise KeyboardInterrupt`, a panic of
    a library written in Rust. None is the cancellation of the task that runs the function, the closing of its
    coroutine, and what the handler of a signal raises, as Ctrl-C does.
    """
    if isinstance(error, Exception):
        return True
    if isinstance(error, asyncio.CancelledError):
        try:
            task = asyncio.current_task()
        except RuntimeError:  # in a thread, where nothing is cancelled
            return True
        return task is not None and not task.cancelling()
    if isinstance(error, BaseExceptionGroup):
        return all(is_failure(one) for one in error.exceptions)
    return not isinstance(error, Interruption) and not _is_from_outside(error)


def _is_from_outside(error: BaseException) -> bool:
    """Whether the handler of a signal raised an error, or the interpreter where no `raise` is."""
    handlers, raised = _signal_handlers(), error.__traceback__
    while raised is not None:
        code = raised.tb_frame.f_code
        if code in handlers:
            return True
        if raised.tb_next is None and isinstance(error, (KeyboardInterrupt, GeneratorExit)):
            return code.co_code[raised.tb_lasti] != opmap["RAISE_VARARGS"]
        raised = raised.tb_next
    return False


def contained(error: BaseException) -> Exception:
    """What a function of the app raised as an `Exception`, which ends nothing but what called the function.

    Raises:
        BaseException: The error itself, when it is no failure of the function; see `is_failure`.
    """
    if isinstance(error, Exception):
        return error
    if not is_failure(error):
        raise error
    failure = EscapedError(f"{type(error).__qualname__} was raised, which is no Exception")
    failure.__cause__ = error
    return failure


def _signal_handlers() -> set[CodeType]:
    """The code of the functions that handle signals here."""
    found: set[CodeType] = set()
    for number in (signal.SIGINT, signal.SIGTERM):
        handler: Any = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        handler = getattr(handler, "__func__", handler)
        if isinstance(code := getattr(handler, "__code__", None), CodeType):
            found.add(code)
    return found


def missing_extra(what: str, extra: str, error: ImportError) -> ModuleNotFoundError:
    """The error for a library that an extra brings, and that is not installed.

    Args:
        what: What needs it, as the subject of the error's sentence.
        extra: One of gqlplugin's.
        error: Why the library can't be imported.
    """
    package = (error.name or "").partition(".")[0]
    message = f"{what} needs {_PACKAGES.get(package, package) or 'more'}: pip install 'gqlplugin[{extra}]'."
    return ModuleNotFoundError(message, name=error.name)


_PACKAGES = {"google": "protobuf", "jwt": "pyjwt", "pydantic_settings": "pydantic-settings", "yaml": "pyyaml"}
"""The distributions of packages that are not named like them."""


def is_public(error: BaseException) -> TypeIs[GqlpluginError]:
    """Whether a client may see the message of an error."""
    return isinstance(error, GqlpluginError) and not isinstance(error, (DefinitionError, SetupError))


def log_internal_error(logger: logging.Logger, error: BaseException, where: str) -> str:
    """Log an unexpected error with its traceback; the ID of the entry, which is all that a client is told."""
    identifier = uuid.uuid4().hex
    reason = f": {error}" if isinstance(error, SetupError) else ""
    logger.error("Internal error %s in %s%s", identifier, where, reason, exc_info=error)
    return identifier
