"""Entering, binding, and what a platform shows of itself."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from gqlplugin.errors import FailedPreconditionError, InvalidInputError, PlatformNotBoundError
from gqlplugin.platform.base import current_binding
from gqlplugin.platform.tailor import TailorPlatform
from tests.contract.support import ALICE, EVERYTHING, app_of, echo_workflow
from tests.platform.tailor.fake import RUN, TOKEN, FakeTailor

pytestmark = pytest.mark.anyio


async def test_a_platform_that_is_not_open_says_so(fake: FakeTailor) -> None:
    """Every method outside `async with platform:` is refused with an error that says what to do."""
    platform = fake.platform()
    async with platform:
        pass
    for call in (
        platform.start_workflow("order-processing", "1", caller=ALICE),
        platform.get_execution(RUN),
        platform.get_jobs([RUN]),
        platform.get_job(RUN),
        platform.list_executions(EVERYTHING, first=1),
        platform.resume(RUN),
        anext(platform.watch(RUN)),
        platform.execute(app_of()).__aenter__(),
        platform.list_workflows(),
        platform.get_workflow("order-processing"),
        platform.list_applications(),
        platform.get_application("shop"),
        platform.list_machine_users("my-auth"),
    ):
        with pytest.raises(FailedPreconditionError, match="async with"):
            await call
    assert fake.received == []


async def test_entering_binds(fake: FakeTailor) -> None:
    """Inside, triggers go to the platform; outside, to what was bound before."""
    platform, outer = fake.platform(), fake.platform()
    async with outer:
        async with platform:
            assert current_binding().platform is platform
        assert current_binding().platform is outer
    with pytest.raises(PlatformNotBoundError):
        current_binding()


async def test_entering_twice_closes_with_the_last_exit(fake: FakeTailor) -> None:
    """A platform may be entered within itself and side by side, and used again afterwards."""
    platform = fake.platform()
    async with platform:
        async with platform:
            await platform.list_workflows()
        await platform.list_workflows()
    async with platform:
        await platform.list_workflows()

    async def use() -> None:
        async with platform:
            await platform.list_workflows()

    await asyncio.gather(*(use() for _ in range(5)))
    assert len(fake.received) == 8


async def test_one_app_at_a_time(fake: FakeTailor) -> None:
    """Executing binds the definitions and runs nothing; a second app meanwhile is refused."""
    app = app_of(echo_workflow())
    async with fake.platform() as platform:
        async with platform.execute(app):
            assert current_binding().definitions is app
            with pytest.raises(FailedPreconditionError, match="app already"):
                async with platform.execute(app_of()):
                    pass
        assert current_binding().definitions is None
        async with platform.execute(app_of()):
            pass
    assert fake.received == []


@pytest.mark.parametrize(
    "url",
    ["", "tailor.test", "ftp://tailor.test", "http://", "http:///x", "http://a b", "http://x/?a=b", "http://x/#a"],
)
def test_a_bad_url_is_refused(url: str) -> None:
    """Only the http or https URL of a server will do."""
    with pytest.raises(InvalidInputError, match="URL"):
        TailorPlatform(url)


@pytest.mark.parametrize("url", ["http://user:s3cret@tailor.test", "https://s3cret@tailor.test"])
def test_a_url_with_credentials_is_refused_unseen(url: str) -> None:
    """Credentials in a URL would be shown and logged: refused, without showing them."""
    with pytest.raises(InvalidInputError, match="credentials") as caught:
        TailorPlatform(url)
    assert "s3cret" not in str(caught.value)


async def test_a_bad_url_of_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says is checked as well, when it is used."""
    monkeypatch.setenv("PLATFORM_URL", "nowhere")
    with pytest.raises(InvalidInputError, match="nowhere"):
        async with TailorPlatform(workspace_id=RUN, token=TOKEN):
            pass


def test_a_platform_without_connections_is_refused() -> None:
    """A number of connections below 1 is refused when the platform is made."""
    with pytest.raises(InvalidInputError, match="max_connections"):
        TailorPlatform(max_connections=0)


@pytest.mark.parametrize("name", ["timeout", "poll_interval", "max_poll_interval"])
def test_times_must_be_above_zero(name: str) -> None:
    """A time-out or a wait of nothing is a mistake."""
    options: dict[str, Any] = {name: timedelta(0)}
    with pytest.raises(InvalidInputError, match=name):
        TailorPlatform(**options)


async def test_the_repr_shows_the_url_alone(fake: FakeTailor) -> None:
    """Neither the token nor the workspace is shown."""
    platform = fake.platform()
    assert repr(platform) == "<TailorPlatform 'http://tailor.test'>"
    assert repr(TailorPlatform(token=TOKEN)) == "<TailorPlatform>"
    async with platform:
        assert TOKEN not in repr(vars(platform))


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("http://tailor.test", True),
        ("http://10.0.0.1:8080", True),
        ("https://tailor.test", False),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://localhost", False),
    ],
)
async def test_a_token_without_encryption_is_warned_of(
    url: str, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Over plain HTTP to another machine the token can be read by who listens: the log says so, without the token."""
    async with TailorPlatform(url, workspace_id=RUN, token=TOKEN):
        pass
    assert ("without encryption" in caplog.text) is is_warned
    assert TOKEN not in caplog.text
