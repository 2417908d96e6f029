"""Tokens, workspaces and profiles: where they come from, and how a token is kept fresh."""

import asyncio
import logging
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import yaml
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gqlplugin.errors import (
    InvalidInputError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    PlatformUnavailableError,
)
from gqlplugin.identity import User
from gqlplugin.platform.tailor import TailorPlatform
from tests.platform.tailor.fake import TOKEN, WORKSPACE, FakeTailor, connect_error

pytestmark = pytest.mark.anyio

OTHER_WORKSPACE = "99999999-2222-4333-8444-555555555555"
PAST = "2020-01-01T00:00:00.000Z"
FUTURE = "2999-01-01T00:00:00.000Z"

Write = Callable[..., Path]


class Issuer:
    """The part of a server that refreshes tokens; each refresh token is good for once."""

    def __init__(self, fake: FakeTailor) -> None:
        self.fake = fake
        self.forms: list[dict[str, str]] = []
        self.endpoint = "http://tailor.test/token"
        self.answer: Response | None = None
        self.released = asyncio.Event()
        self.released.set()
        fake.app.add_route("/.well-known/oauth-authorization-server/oauth2/platform", self.discover)
        fake.app.add_route("/token", self.refresh, methods=["POST"])

    async def discover(self, request: Request) -> Response:
        return JSONResponse({"token_endpoint": self.endpoint, "issuer": "x"})

    async def refresh(self, request: Request) -> Response:
        self.forms.append(dict(parse_qsl((await request.body()).decode())))
        await self.released.wait()
        if self.answer is not None:
            return self.answer
        number = len(self.forms)
        if self.forms[-1]["refresh_token"] != ("refresh-0" if number == 1 else f"refresh-{number - 1}"):
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.fake.tokens = {f"access-{number}"}
        tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_in": 3600}
        return JSONResponse(tokens)


@pytest.fixture
def issuer(fake: FakeTailor) -> Issuer:
    return Issuer(fake)


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Writes the profile file; by default with one user, one profile, and things we don't know."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "tailor-platform" / "config.yaml"

    def write_file(document: Any = None, *, expires: str = FUTURE, token: str = TOKEN) -> Path:
        path.parent.mkdir(exist_ok=True)
        user = {"access_token": token, "refresh_token": "refresh-0", "token_expires_at": expires, "note": "mine"}
        given = document or {
            "version": 1,
            "min_sdk": "2.0",
            "users": {"a@b.test": user, "other@b.test": {**user, "access_token": "others"}},
            "profiles": {"work": {"user": "a@b.test", "workspace_id": WORKSPACE, "color": "red"}},
            "current_user": "a@b.test",
        }
        path.write_text(given if isinstance(given, str) else yaml.safe_dump(given, sort_keys=False))
        return path

    return write_file


def platform_of(fake: FakeTailor, **options: Any) -> TailorPlatform:
    """A client that is told nothing but where the server is."""
    return fake.platform(**({"token": None, "workspace_id": None} | options))


async def sent(platform: TailorPlatform, fake: FakeTailor) -> tuple[str, str]:
    """The token and the workspace of a call."""
    fake.tokens |= {"argument", "tailor-platform", "tailor", "others", TOKEN}
    async with platform:
        await platform.list_workflows()
    last = fake.received[-1]
    return last.headers["authorization"].removeprefix("Bearer "), last.message["workspaceId"]


async def test_each_source_beats_the_next(fake: FakeTailor, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    """Arguments, then the variables in their order, then the profile's user, then the current one."""
    write(
        {
            "version": 1,
            "users": {"a": {"access_token": TOKEN}, "b": {"access_token": "others"}},
            "profiles": {"work": {"user": "b", "workspace_id": OTHER_WORKSPACE}, "home": {"user": "a"}},
            "current_user": "a",
        }
    )
    given = {"workspace_id": WORKSPACE}
    assert await sent(platform_of(fake, **given), fake) == (TOKEN, WORKSPACE)
    monkeypatch.setenv("TAILOR_PLATFORM_PROFILE", "work")
    assert await sent(platform_of(fake), fake) == ("others", OTHER_WORKSPACE)
    assert await sent(platform_of(fake, profile="home", **given), fake) == (TOKEN, WORKSPACE)
    monkeypatch.setenv("TAILOR_PLATFORM_WORKSPACE_ID", WORKSPACE)
    monkeypatch.setenv("TAILOR_TOKEN", "tailor")
    assert await sent(platform_of(fake), fake) == ("tailor", WORKSPACE)
    monkeypatch.setenv("TAILOR_PLATFORM_TOKEN", "tailor-platform")
    assert await sent(platform_of(fake), fake) == ("tailor-platform", WORKSPACE)
    arguments = {"token": SecretStr("argument"), "workspace_id": OTHER_WORKSPACE}
    assert await sent(platform_of(fake, **arguments), fake) == ("argument", OTHER_WORKSPACE)


async def test_the_url_comes_from_the_environment(fake: FakeTailor, monkeypatch: pytest.MonkeyPatch) -> None:
    """TAILOR_PLATFORM_URL, then PLATFORM_URL, then the vendor's; an empty variable is not set."""
    options: dict[str, Any] = {"workspace_id": WORKSPACE, "token": TOKEN, "transport": httpx.ASGITransport(fake.app)}
    seen = []
    for name, value in (
        ("TAILOR_PLATFORM_URL", ""),
        ("PLATFORM_URL", "http://second.test/base/"),
        ("TAILOR_PLATFORM_URL", "https://first.test"),
    ):
        monkeypatch.setenv(name, value)
        async with TailorPlatform(**options) as platform:
            seen.append(repr(platform))
    assert seen == [
        "<TailorPlatform 'https://api.tailor.tech'>",
        "<TailorPlatform 'http://second.test/base'>",
        "<TailorPlatform 'https://first.test'>",
    ]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"workspace_id": WORKSPACE}, PlatformCredentialsError, "TAILOR_PLATFORM_TOKEN"),
        ({"token": TOKEN}, InvalidInputError, "TAILOR_PLATFORM_WORKSPACE_ID"),
        ({"token": TOKEN, "workspace_id": "no-uuid"}, InvalidInputError, "no-uuid"),
        ({"token": TOKEN, "profile": "work"}, PlatformCredentialsError, "work"),
        ({"token": "", "workspace_id": WORKSPACE}, PlatformCredentialsError, "empty"),
    ],
)
async def test_what_is_missing_is_named(
    fake: FakeTailor, options: dict[str, str], kind: type[Exception], words: str
) -> None:
    """An error says which variable or option to set; the platform stays closed and can be entered later."""
    platform = platform_of(fake, **options)
    with pytest.raises(kind, match=words):
        async with platform:
            pass
    assert fake.received == []


@pytest.mark.parametrize("token", ["with space", "new\nline", "ünicode", "nul\0"])
async def test_a_token_that_can_not_be_sent_is_not_shown(fake: FakeTailor, token: str) -> None:
    """A token with characters that a header can't have is refused without showing it."""
    with pytest.raises(PlatformCredentialsError) as caught:
        async with platform_of(fake, token=token, workspace_id=WORKSPACE):
            pass
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"version": 2}, "version"),
        ({"users": {}}, "version"),
        ("version: 1\nusers: {a: {access_token: s3cret", "line 2"),
        ("- s3cret", "no mapping"),
        ({"version": 1, "users": {"a": {"access_token": ["s3cret"]}}, "current_user": "a"}, "access_token"),
        ({"version": 1, "users": ["s3cret"]}, "users"),
        ({"version": 1, "users": None, "profiles": None}, "names no user"),
        ({"version": 1, "users": {}, "current_user": "a"}, "'a'"),
        ({"version": 1, "users": {"a": {"access_token": "s3 cret"}}, "current_user": "a"}, "characters"),
        ("version: 1\nusers: !!python/object/apply:os.system [s3cret]", "line 2"),
    ],
)
async def test_a_bad_profile_file_is_told_without_its_secrets(
    fake: FakeTailor, write: Write, document: Any, words: str
) -> None:
    """A file that is malformed, of another version, or without the user says so, and shows no token."""
    write(document)
    with pytest.raises(PlatformCredentialsError, match=words) as caught:
        async with platform_of(fake, workspace_id=WORKSPACE):
            pass
    assert "s3" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_an_unknown_profile_is_told_with_those_there_are(fake: FakeTailor, write: Write) -> None:
    """The error names the profiles that could be meant."""
    write()
    with pytest.raises(PlatformCredentialsError, match=r"'nope'.*work"):
        async with platform_of(fake, profile="nope"):
            pass


async def test_a_token_that_is_over_is_refreshed_and_kept(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """Before the first call: refreshed once for all, written back, and nothing else in the file is changed."""
    path = write(expires=(datetime.now(UTC) + timedelta(seconds=10)).isoformat())
    before = yaml.safe_load(path.read_text())
    async with platform_of(fake, profile="work") as platform:
        await asyncio.gather(*(platform.list_workflows() for _ in range(10)))
    assert issuer.forms == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-0",
            "client_id": "cpoc_0Iudir72fqSpqC6GQ58ri1cLAqcq5vJl",
        }
    ]
    after = yaml.safe_load(path.read_text())
    user = after["users"]["a@b.test"]
    assert (user["access_token"], user["refresh_token"], user["note"]) == ("access-1", "refresh-1", "mine")
    assert datetime.fromisoformat(user["token_expires_at"]) > datetime.now(UTC) + timedelta(minutes=59)
    assert list(after) == list(before)
    before["users"]["a@b.test"] = user
    assert after == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


async def test_times_of_others_stay_the_text_they_were(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """A time that YAML could read as one is written back as it stood, also through a link."""
    path = write(
        "version: 1\ncurrent_user: a\nusers:\n"
        f"  a: {{access_token: old, refresh_token: refresh-0, token_expires_at: {PAST}}}\n"
        f"  b: {{access_token: x, token_expires_at: {PAST}}}\n"
    )
    target = path.rename(path.parent / "elsewhere.yaml")
    path.symlink_to(target)
    async with platform_of(fake, workspace_id=WORKSPACE) as platform:
        await platform.list_workflows()
    assert path.is_symlink()
    assert yaml.safe_load(target.read_text())["users"]["b"]["token_expires_at"] == PAST


async def test_a_refused_token_is_refreshed_once(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """A 401 for a profile's token means one refresh and one more try, for all calls that saw it."""
    write()
    fake.tokens = {"access-1"}
    async with platform_of(fake, profile="work") as platform:
        await asyncio.gather(*(platform.list_workflows() for _ in range(10)))
        assert len(issuer.forms) == 1
        fake.tokens = set()
        fake.received.clear()
        issuer.answer = JSONResponse({"access_token": "no-good"})
        with pytest.raises(PlatformCredentialsError):
            await platform.list_workflows()
    assert len(issuer.forms) == 2
    assert len(fake.received) == 2


async def test_a_late_refusal_of_an_old_token_is_no_reason(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """A 401 for a token that was refreshed meanwhile means one more try, not another refresh."""
    write()
    fake.tokens = {"access-1"}
    fake.slow["GetWorkflowByName"] = asyncio.Event()
    async with platform_of(fake, profile="work") as platform, asyncio.timeout(60):
        late = asyncio.create_task(platform.get_workflow("order-processing"))
        while not fake.received:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        await platform.list_workflows()
        fake.slow["GetWorkflowByName"].set()
        await late
    assert len(issuer.forms) == 1


async def test_a_given_token_is_not_refreshed(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """A token from an argument or a variable is the caller's own affair."""
    write(expires=PAST)
    fake.tokens = {"access-1"}
    async with platform_of(fake, profile="work", token=TOKEN) as platform:
        with pytest.raises(PlatformCredentialsError):
            await platform.list_workflows()
    assert issuer.forms == []
    assert len(fake.received) == 1


async def test_what_another_process_has_refreshed_is_used(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """A newer token in the file saves a refresh, whose refresh token is used up already."""
    write(expires=PAST)
    async with platform_of(fake, profile="work") as platform:
        write(token="newer")  # noqa: S106
        fake.tokens = {"newer"}
        await platform.list_workflows()
    assert issuer.forms == []


async def test_a_file_that_can_not_be_written_is_logged(
    fake: FakeTailor, write: Write, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """The new token is used even when it can't be kept; a file that is gone is not made again."""
    path = write(expires=PAST)
    caplog.set_level(logging.DEBUG)
    issuer.released.clear()
    async with platform_of(fake, profile="work") as platform, asyncio.timeout(60):
        call = asyncio.create_task(platform.list_workflows())
        while not issuer.forms:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        path.unlink()
        issuer.released.set()
        await call
        await platform.list_workflows()
    assert not path.exists()
    assert [one.levelname for one in caplog.records if "written back" in one.message] == ["WARNING"]
    assert not any(secret in caplog.text for secret in ("access-1", "refresh-0", "refresh-1", TOKEN))


async def test_a_valid_token_does_not_wait_for_its_refresh(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """While the server that refreshes it hangs, calls go on with the token they have, until its time is over."""
    write(expires=(datetime.now(UTC) + timedelta(seconds=25)).isoformat())
    fake.tokens |= {TOKEN}
    issuer.released.clear()
    async with platform_of(fake, profile="work") as platform:
        async with asyncio.timeout(15):
            await asyncio.gather(*[platform.list_workflows() for _ in range(10)])
        issuer.released.set()
    assert len(issuer.forms) == 1
    assert {one.headers["authorization"] for one in fake.received} == {f"Bearer {TOKEN}"}


async def test_a_refresh_goes_on_when_its_caller_gives_up(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """A refresh token may be good for once: a cancelled call and a closed platform don't lose the answer."""
    path = write(expires=PAST)
    issuer.released.clear()
    async with platform_of(fake, profile="work") as platform, asyncio.timeout(60):
        call = asyncio.create_task(platform.list_workflows())
        while not issuer.forms:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        call.cancel()
        asyncio.get_running_loop().call_later(0.05, issuer.released.set)
    assert "access-1" in path.read_text()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (JSONResponse({"error": "invalid_grant", "hint": "refresh-0"}, 400), PlatformCredentialsError),
        (Response("refresh-0", 503), PlatformUnavailableError),
        (Response("refresh-0", 429), PlatformUnavailableError),
        (Response("refresh-0"), PlatformUnavailableError),
        (JSONResponse({"access_token": ["refresh-0"]}), PlatformUnavailableError),
        (JSONResponse({"access_token": "x", "expires_in": 1e300}), PlatformUnavailableError),
        (JSONResponse({"access_token": "refresh-0\n"}), PlatformCredentialsError),
        (connect_error("unauthenticated"), PlatformCredentialsError),
    ],
    ids=range(8),
)
async def test_a_refresh_that_fails_is_told(
    fake: FakeTailor, write: Write, issuer: Issuer, answer: Response, kind: type[Exception]
) -> None:
    """A refused refresh token needs a log-in, a server in trouble another try; the file stays as it was."""
    path = write(expires=PAST)
    before = path.read_text()
    issuer.answer = answer
    async with platform_of(fake, profile="work") as platform:
        with pytest.raises(kind) as caught:
            await platform.list_workflows()
    assert "refresh-0" not in f"{caught.value} {caught.value.__cause__}"
    assert path.read_text() == before
    assert fake.received == []


@pytest.mark.parametrize(
    ("endpoint", "trusted"),
    [
        ("http://tailor.test/token", True),
        ("https://login.test/token", True),
        ("http://login.test/token", False),
        ("http://tailor.test:81/token", False),
        ("https://user:pass@login.test/token", False),
        ("ftp://tailor.test/token", False),
        ("/token", False),
        ("https://\0", False),
    ],
)
async def test_a_refresh_token_goes_to_no_stranger(
    fake: FakeTailor, write: Write, issuer: Issuer, endpoint: str, trusted: bool
) -> None:
    """The token endpoint must be https, or of the platform's own origin."""
    write(expires=PAST)
    issuer.endpoint = endpoint
    async with platform_of(fake, profile="work") as platform:
        if trusted:
            await platform.list_workflows()
        else:
            with pytest.raises(PlatformCredentialsError) as caught:
                await platform.list_workflows()
            assert "token endpoint" in str(caught.value.__cause__)
    assert len(issuer.forms) == int(trusted)


async def test_a_user_without_a_refresh_token_must_log_in(
    fake: FakeTailor, write: Write, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be refreshed then; callers of the API don't see whose token it was, nor where."""
    user = {"access_token": "old", "token_expires_at": PAST}
    path = write({"version": 1, "users": {"a": user}, "current_user": "a"})
    async with platform_of(fake, workspace_id=WORKSPACE) as platform:
        with pytest.raises(PlatformCredentialsError) as caught:
            await platform.list_workflows()
    assert "log in again" in str(caught.value.__cause__)
    assert str(path) not in str(caught.value)
    assert issuer.forms == []


async def test_a_lost_start_stays_lost_without_a_token(fake: FakeTailor, write: Write, issuer: Issuer) -> None:
    """A start that may have been accepted is told as such, even when the next try has no token any more."""
    write()
    fake.extensions = True
    fake.queue("TestStartWorkflow", connect_error("unavailable"), connect_error("unauthenticated"))
    issuer.answer = JSONResponse({"error": "invalid_grant"}, 400)
    async with platform_of(fake, profile="work") as platform:
        with pytest.raises(OutcomeUnknownError):
            await platform.start_workflow("order-processing", "1", caller=User())


async def test_the_client_id_can_be_set(
    fake: FakeTailor, write: Write, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PLATFORM_OAUTH2_CLIENT_ID is sent instead of the vendor's public one."""
    monkeypatch.setenv("PLATFORM_OAUTH2_CLIENT_ID", "another")
    write(expires=PAST)
    async with platform_of(fake, profile="work") as platform:
        await platform.list_workflows()
    assert [form["client_id"] for form in issuer.forms] == ["another"]
