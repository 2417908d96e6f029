"""What a client is told of an error."""

import logging
from collections.abc import Sequence

import pytest

from gqlplugin.errors import (
    DefinitionError,
    FieldProblem,
    ForbiddenError,
    GqlpluginError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    PlatformNotBoundError,
    PlatformUnavailableError,
    UnauthenticatedError,
    UnsupportedError,
)
from gqlplugin.runs import ExecutionFilter, ExecutionPage
from gqlplugin.testing import MemoryPlatform
from tests.platform.tailor.server.support import Reply, shop_server

pytestmark = pytest.mark.anyio

LOGGER = "gqlplugin.tailor.server"


class Broken(MemoryPlatform):
    """Can't list runs."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def list_executions(self, where: ExecutionFilter, *, first: int, after: str | None = None) -> ExecutionPage:
        raise self.error


async def replies(error: BaseException) -> Sequence[Reply]:
    async with shop_server(Broken(error)) as served:
        return [await client.call("ListWorkflowExecutions") for client in (served.client, served.binary)]


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (InvalidInputError("No."), "invalid_argument", 400),
        (UnauthenticatedError("No."), "unauthenticated", 401),
        (ForbiddenError("No."), "permission_denied", 403),
        (NotFoundError("No."), "not_found", 404),
        (IdempotencyKeyReusedError("No."), "already_exists", 409),
        (PlatformUnavailableError("No."), "unavailable", 503),
        (OutcomeUnknownError("No."), "unknown", 500),
        (UnsupportedError("No."), "unimplemented", 501),
    ],
)
async def test_errors_of_ours(error: GqlpluginError, code: str, status: int) -> None:
    """An error that is written for the caller has the Connect code that means the same."""
    for reply in await replies(error):
        assert (reply.status, reply.code, reply.message) == (status, code, "No.")
        assert reply.headers["gqlplugin-extensions"] == "1"


async def test_problems_are_told() -> None:
    """Every field that does not fit is told, and none twice."""
    problems = [FieldProblem(("items", 0, "sku"), "Field required"), FieldProblem(("name",), "Too long")]
    [reply, _] = await replies(InvalidInputError("Not valid.", problems))
    assert reply.message == "Not valid. items.0.sku: Field required; name: Too long"
    [reply, _] = await replies(InvalidInputError("Not valid: name: Too long.", problems[1:]))
    assert reply.message == "Not valid: name: Too long."


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret text"),
        TimeoutError("secret text"),
        PlatformCredentialsError("secret text"),
        PlatformNotBoundError("secret text"),
        DefinitionError("secret text"),
        GqlpluginError("secret text"),
    ],
)
async def test_unexpected_errors(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Any other error is logged with its traceback, under an ID that is all the client is told."""
    for reply in await replies(error):
        assert (reply.status, reply.code) == (500, "internal")
        identifier = reply.message.removeprefix("Internal error ").removesuffix(".")
        assert len(identifier) == 32
        [record] = [one for one in caplog.records if one.name == LOGGER and identifier in one.getMessage()]
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert record.exc_info[1] is error
    others = [one for one in caplog.records if one.name != LOGGER and one.levelno >= logging.ERROR]
    assert others == []


async def test_unavailability_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What operators have to look after is in their log, with its cause."""
    await replies(PlatformUnavailableError())
    assert [one.levelname for one in caplog.records if one.name == LOGGER] == ["WARNING", "WARNING"]
