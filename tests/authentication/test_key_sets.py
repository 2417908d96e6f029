"""Key sets that rotate: when they are read again, and what happens when they can't be."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.asgi import create_asgi
from gqlplugin.authentication.jwt import MAX_BYTES, JWTAuthenticator, RotatingKeys, from_file, from_url
from gqlplugin.errors import AuthenticationUnavailableError, UnauthenticatedError
from gqlplugin.testing import MemoryPlatform, serve
from tests.abandoned import Failing, nothing_reported
from tests.authentication.support import (
    AUDIENCE,
    EC_KEY,
    ISSUER,
    OTHER_RSA_KEY,
    RSA_KEY,
    Provider,
    jwk,
    token,
)
from tests.graphql.shop import define_shop, shop_schema
from tests.loopback import uvicorn_serving

pytestmark = pytest.mark.anyio

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    one = Provider([jwk(RSA_KEY, "first")])
    async with uvicorn_serving(one.app()) as url:
        one.url = f"{url}/jwks.json"
        yield one


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, time: timedelta) -> None:
        self.now += time.total_seconds()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(provider: Provider, clock: Clock) -> RotatingKeys:
    return RotatingKeys(from_url(provider.url), ["RS256", "ES256"], lifetime=10 * MINUTE, grace=HOUR, clock=clock)


async def ids(keys: RotatingKeys, key_id: str | None = None, algorithm: str = "RS256") -> list[str | None]:
    return [key.id for key in await keys.find(key_id, algorithm)]


async def test_keys_are_kept_for_their_lifetime(keys: RotatingKeys, provider: Provider, clock: Clock) -> None:
    """They are read once, then again behind a request when the lifetime is over; those that are withdrawn are gone."""
    for _ in range(3):
        assert await ids(keys, "first") == ["first"]
    clock.pass_by(10 * MINUTE)
    assert (await ids(keys, "first"), provider.fetches) == (["first"], 1)
    provider.keys = [jwk(OTHER_RSA_KEY, "second")]
    clock.pass_by(timedelta(seconds=1))
    assert await ids(keys, "first") == ["first"]
    async with asyncio.timeout(60):
        while await ids(keys, "first"):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    assert (await ids(keys, "second"), provider.fetches) == (["second"], 2)


@asynccontextmanager
async def peer(answer: bytes | None, pause: float = 0) -> AsyncIterator[tuple[str, list[float]]]:
    """A server that answers each connection slowly, byte by byte, or never; its URL, and when it was connected to."""
    connected: list[float] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(time.monotonic())
        try:
            for number in range(len(answer or b"")):
                writer.write((answer or b"")[number : number + 1])
                await writer.drain()
                await asyncio.sleep(pause)
            if answer is None:
                await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json", connected
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "pause"),
    [(None, 0), (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 10_000, 0.05), (b"garbage" * 10, 0)],
    ids=["hangs", "drips", "garbage"],
)
async def test_a_known_key_waits_for_nobody(
    provider: Provider, clock: Clock, answer: bytes | None, pause: float
) -> None:
    """While the provider is read again, and hangs, those with a known key are answered at once, as are their others."""

    async def read() -> bytes:
        return await from_url(urls[-1])()

    urls = [provider.url]

    keys = RotatingKeys(read, ["RS256"], lifetime=10 * MINUTE, grace=HOUR, clock=clock)
    assert await ids(keys, "first") == ["first"]
    clock.pass_by(11 * MINUTE)
    async with peer(answer, pause) as (url, connected):
        urls.append(url)
        unknown = asyncio.create_task(ids(keys, "unknown"))
        took: list[float] = []
        for _ in range(200):
            began = time.perf_counter()
            assert await ids(keys, "first") == ["first"]
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0)
        assert max(took) < 0.1
        began = time.monotonic()
        assert await unknown == []
        assert time.monotonic() - began < 10
        assert len(connected) == 1
    urls.append(provider.url)  # it has recovered
    provider.keys = [jwk(OTHER_RSA_KEY, "second")]
    clock.pass_by(MINUTE)
    assert await ids(keys, "second") == ["second"]
    assert await ids(keys, "first") == []


async def test_failures_space_the_reads(keys: RotatingKeys, provider: Provider, clock: Clock) -> None:
    """After each that fails the next one is further away, up to a minute; one that succeeds ends that."""
    provider.status = 503
    tries: list[int] = []
    for _ in range(300):
        before = provider.fetches
        with pytest.raises(AuthenticationUnavailableError):
            await ids(keys, "first")
        tries.append(provider.fetches - before)
        clock.pass_by(timedelta(seconds=1))
    moments = [moment for moment, made in enumerate(tries) if made]
    assert moments == [0, 10, 30, 70, 130, 190, 250]
    provider.status = 200
    clock.pass_by(MINUTE)
    assert await ids(keys, "first") == ["first"]
    clock.pass_by(timedelta(seconds=11))
    before = provider.fetches
    assert (await ids(keys, "unknown"), provider.fetches) == ([], before + 1)


async def test_an_unknown_key_is_looked_for_once(keys: RotatingKeys, provider: Provider, clock: Clock) -> None:
    """A key that was added is found at once; one that isn't there is not asked for again before ten seconds."""
    assert await ids(keys, "first") == ["first"]
    clock.pass_by(MINUTE)
    provider.keys.append(jwk(EC_KEY, "second"))
    assert (await ids(keys, "second", "ES256"), provider.fetches) == (["second"], 2)
    for number in range(50):
        assert await ids(keys, f"unknown-{number}") == []
    assert provider.fetches == 2
    clock.pass_by(timedelta(seconds=11))
    assert (await ids(keys, "unknown"), provider.fetches) == ([], 3)


async def test_old_keys_go_on_while_the_provider_is_down(keys: RotatingKeys, provider: Provider, clock: Clock) -> None:
    """For the grace and no longer; when it is back, so are its keys."""
    assert await ids(keys, "first") == ["first"]
    provider.status = 503
    clock.pass_by(HOUR + 9 * MINUTE)
    assert await ids(keys, "first") == ["first"]
    assert await ids(keys, "unknown") == []
    clock.pass_by(2 * MINUTE)
    with pytest.raises(AuthenticationUnavailableError):
        await ids(keys, "first")
    fetches = provider.fetches
    with pytest.raises(AuthenticationUnavailableError):
        await ids(keys, "first")
    assert provider.fetches == fetches
    provider.status = 200
    clock.pass_by(MINUTE)
    assert await ids(keys, "first") == ["first"]


@pytest.mark.parametrize(
    "broken",
    [
        {"status": 302, "headers": {"location": "/elsewhere"}},
        {"status": 404},
        {"body": b"<html>"},
        {"body": b"[]"},
        {"body": b'{"keys": {}}'},
        {"body": b'{"keys": []}'},
        {"body": json.dumps({"keys": [jwk(RSA_KEY, "first")]}).encode() + b" " * MAX_BYTES},
        {"headers": {"content-encoding": "gzip"}, "body": b"\x1f\x8b" + b"\0" * 100},
    ],
)
async def test_an_answer_that_is_no_key_set_changes_nothing(
    keys: RotatingKeys, provider: Provider, clock: Clock, broken: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Redirects are not followed, what is too large is not read, and the known keys stay."""
    good = dict(vars(provider))
    vars(provider).update(broken)
    with pytest.raises(AuthenticationUnavailableError):
        await ids(keys, "first")
    assert "could not be read" in caplog.text
    vars(provider).update({**good, "fetches": provider.fetches})
    clock.pass_by(MINUTE)
    assert await ids(keys, "first") == ["first"]
    vars(provider).update(broken)
    clock.pass_by(11 * MINUTE)
    assert await ids(keys, "first") == ["first"]
    assert set(provider.paths) == {"/jwks.json"}


async def test_a_reader_that_goes_away_leaves_the_others(keys: RotatingKeys, provider: Provider) -> None:
    """Who reads for all may be cancelled, as when a client hangs up, and the others get the keys."""
    provider.delay = 0.2
    first, *others = [asyncio.create_task(ids(keys, "first")) for _ in range(5)]
    async with asyncio.timeout(60):
        while not provider.fetches:  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0.01)
        first.cancel()
        assert await asyncio.gather(*others) == [["first"]] * 4
    assert first.cancelled()
    assert provider.fetches == 1


async def test_a_file_is_read_again(tmp_path: Path, clock: Clock) -> None:
    """As a key set from a URL is: a new key is found when a token names it."""
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk(RSA_KEY, "first")]}))
    keys = RotatingKeys(from_file(file), ["RS256"], lifetime=10 * MINUTE, grace=HOUR, clock=clock)
    assert await ids(keys, "first") == ["first"]
    file.write_text(json.dumps({"keys": [jwk(OTHER_RSA_KEY, "second")]}))
    clock.pass_by(MINUTE)
    assert await ids(keys, "second") == ["second"]
    file.unlink()
    clock.pass_by(11 * MINUTE)
    assert await ids(keys, "second") == ["second"]


async def test_old_keys_go_on_while_there_is_no_thread_for_the_file(clock: Clock) -> None:
    """Whatever keeps it from being read, tokens are checked by the keys that are known, and it is read again later."""
    error: Exception | None = None

    async def read() -> bytes:
        if error is not None:
            raise error
        return json.dumps({"keys": [jwk(RSA_KEY, "first")]}).encode()

    keys = RotatingKeys(read, ["RS256"], lifetime=10 * MINUTE, grace=HOUR, clock=clock)
    assert await ids(keys, "first") == ["first"]
    error = RuntimeError("can't start new thread")
    clock.pass_by(11 * MINUTE)
    assert await ids(keys, "first") == ["first"]
    clock.pass_by(HOUR)
    with pytest.raises(AuthenticationUnavailableError):
        await keys.find("first", "RS256")
    error = None
    clock.pass_by(MINUTE)
    assert await ids(keys, "first") == ["first"]


async def test_rotation_under_load(provider: Provider) -> None:
    """100 requests at once cost one fetch; after that, 100 with keys that nobody knows cost none."""
    authenticate = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, jwks_url=provider.url)
    asgi = create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), authenticate=authenticate)
    good = {"authorization": f"Bearer {token(RSA_KEY, 'RS256', {'kid': 'first'})}"}
    async with serve(asgi) as client:
        answers = await asyncio.gather(*[client.execute("{ whoAmI }", headers=good) for _ in range(100)])
        assert [answer.data for answer in answers] == [{"whoAmI": "ann"}] * 100
        assert provider.fetches == 1
        unknown = [token(OTHER_RSA_KEY, "RS256", {"kid": f"unknown-{number}"}) for number in range(100)]
        asked = [client.execute("{ whoAmI }", headers={"authorization": f"Bearer {one}"}) for one in unknown]
        refused = await asyncio.gather(*asked)
    assert {(answer.status, *answer.codes) for answer in refused} == {(401, "UNAUTHENTICATED")}
    assert provider.fetches == 1


async def test_no_keys_at_all_is_an_outage() -> None:
    """When the provider was never reached the answer is 503, to try again; without a token nothing changes."""
    authenticate = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, jwks_url="http://127.0.0.1:9/jwks.json")
    asgi = create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), authenticate=authenticate)
    async with serve(asgi) as client:
        headers = {"authorization": f"Bearer {token(RSA_KEY, 'RS256')}"}
        answer = await client.execute("{ whoAmI }", headers=headers)
        assert (answer.status, answer.codes) == (503, ["AUTHENTICATION_UNAVAILABLE"])
        assert answer.errors[0]["extensions"]["retryable"] is True
        assert "127.0.0.1" not in str(answer.errors)
        assert (await client.execute("{ whoAmI }")).status == 200
        garbage = await client.execute("{ whoAmI }", headers={"authorization": "Bearer garbage"})
    assert garbage.status == 401
    with pytest.raises(UnauthenticatedError):
        await authenticate.verify("garbage")


async def test_a_read_that_breaks_after_all_have_left_is_not_reported() -> None:
    """Neither is what is no outage, once the requests that it would have failed are gone."""
    failing = Failing()
    with nothing_reported():
        keys = RotatingKeys(failing, ["RS256"], lifetime=10 * MINUTE, grace=HOUR)
        await failing.outlive(keys.find("first", "RS256"))
        del keys
