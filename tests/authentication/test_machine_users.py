"""Machine users that call: with their secret they get a token, and with the token they are who they are."""

import base64
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Literal

import httpx
import jwt
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from gqlplugin.app import App, define_app
from gqlplugin.asgi import create_asgi, graphql_routes, lifespan, token_routes
from gqlplugin.auth import define_auth
from gqlplugin.authentication.jwt import JWTAuthenticator
from gqlplugin.authentication.tokens import MachineUserTokens
from gqlplugin.errors import DefinitionError, UnauthenticatedError
from gqlplugin.graphql.schema_operations import machine_user
from gqlplugin.identity import User
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.secret import secret
from gqlplugin.testing import GraphQLClient, MemoryPlatform, serve
from tests.authentication.support import AUDIENCE, ISSUER, SECRET, token

pytestmark = pytest.mark.anyio

CLERK_SECRET = "the clerk's own secret, long enough"  # noqa: S105 - lives as long as a test
FORM = {"grant_type": "client_credentials"}
seen: list[User] = []


@create_resolver(name="me", operation="query")
async def me(ctx: ResolverContext[None]) -> str:
    seen.append(ctx.user)
    return ctx.user.id


def shop(clerk: str = CLERK_SECRET) -> App:
    auth = define_auth(
        "shop-auth",
        Literal["manager", "clerk", "robot"],
        attributes={"manager": {"role": "MANAGER"}},
        secrets={"manager": secret("GQLPLUGIN_TEST_MANAGER"), "clerk": SecretStr(clerk)},
    )
    return define_app("shop", auth=auth, resolvers=[me])


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GraphQLClient]:
    monkeypatch.setenv("GQLPLUGIN_TEST_MANAGER", SECRET)
    async with serve(create_asgi(shop(), MemoryPlatform())) as client:
        yield client


async def ask(client: GraphQLClient, name: str, value: str, **more: Any) -> httpx.Response:
    form = {**FORM, "client_id": name, "client_secret": value}
    return await client.http.post("/oauth2/token", data=form, **more)


async def token_of(client: GraphQLClient, name: str, value: str) -> str:
    return str((await ask(client, name, value)).json()["access_token"])


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def basic(name: str, value: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{name}:{value}'.encode()).decode()}"}


@pytest.mark.parametrize(("name", "value"), [("manager", SECRET), ("clerk", CLERK_SECRET)])
async def test_a_machine_user_calls_as_itself(client: GraphQLClient, name: str, value: str) -> None:
    """The caller is the one that executors' operations have who run as this machine user."""
    seen.clear()
    issued = await token_of(client, name, value)
    answer = await client.execute("{ me }", headers=bearer(issued))
    assert answer.status == 200
    app = shop()
    assert app.auth is not None
    assert seen == [machine_user(app, app.auth.resolve(name))]
    assert seen[0].type == "machine_user"
    assert seen[0].attributes == ({"role": "MANAGER"} if name == "manager" else {})


async def test_the_answer_is_that_of_oauth(client: GraphQLClient) -> None:
    """RFC 6749, section 5.1; the client authenticates in the form or by HTTP Basic."""
    in_form = await ask(client, "clerk", CLERK_SECRET)
    by_header = await client.http.post("/oauth2/token", data=FORM, headers=basic("clerk", CLERK_SECRET))
    for response in (in_form, by_header):
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        assert (response.json()["token_type"], response.json()["expires_in"]) == ("Bearer", 3600)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clerk", CLERK_SECRET[:-1]),
        ("clerk", SECRET),
        ("manager", CLERK_SECRET),
        ("clerk", ""),
        ("robot", CLERK_SECRET),
        ("robot", "\0"),
        ("robot", ""),
        ("nobody", CLERK_SECRET),
        ("", ""),
    ],
)
async def test_wrong_secrets_get_one_answer(client: GraphQLClient, name: str, value: str) -> None:
    """A machine user without a secret, an unknown one, and a wrong secret are told alike."""
    response = await ask(client, name, value)
    expected = {"error": "invalid_client", "error_description": "The client ID or the client secret is wrong."}
    assert (response.status_code, response.json()) == (401, expected)


async def test_a_form_is_bounded(client: GraphQLClient) -> None:
    """Nobody sends secrets of megabytes."""
    response = await ask(client, "clerk", "x" * 20_000)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_other_methods_and_grants_are_refused(client: GraphQLClient) -> None:
    """The route is for this grant alone."""
    assert (await client.http.get("/oauth2/token")).status_code == 405
    other = await client.http.post("/oauth2/token", data={**FORM, "grant_type": "password"})
    assert other.json()["error"] == "unsupported_grant_type"


async def test_forged_tokens_are_refused(client: GraphQLClient) -> None:
    """With another user's key, a changed subject, the bare secret as the key, or without the prefix."""
    issued = await token_of(client, "clerk", CLERK_SECRET)
    signed = issued.removeprefix("gqlmachine_")
    raw = jwt.decode(signed, options={"verify_signature": False})
    head, _, signature = signed.split(".")
    as_manager = jwt.encode({**raw, "sub": "manager"}, CLERK_SECRET, "HS256").split(".")[1]
    wrong = [
        signed,
        "gqlmachine_",
        "gqlmachine_a.b.c",
        f"gqlmachine_{head}.{as_manager}.{signature}",
        "gqlmachine_" + jwt.encode(raw, CLERK_SECRET, "HS256"),
        "gqlmachine_" + jwt.encode({**raw, "sub": "robot"}, b"\0" * 32, "HS256"),
        "gqlmachine_" + jwt.encode({**raw, "sub": "nobody"}, b"\0" * 32, "HS256"),
    ]
    answers = [await client.execute("{ me }", headers=bearer(one)) for one in wrong]
    assert {(one.status, *one.codes) for one in answers} == {(401, "UNAUTHENTICATED")}


async def test_a_token_ends_with_its_secret_and_its_lifetime(client: GraphQLClient) -> None:
    """When the secret is changed, the tokens that it signed are refused."""
    issued = await token_of(client, "clerk", CLERK_SECRET)
    async with serve(create_asgi(shop("a new secret for the clerk, of 32 bytes"), MemoryPlatform())) as changed:
        assert (await changed.execute("{ me }", headers=bearer(issued))).status == 401
    app = shop()
    assert app.auth is not None
    tokens = MachineUserTokens(app.auth, app.auth.secrets, timedelta(seconds=-1))
    with pytest.raises(UnauthenticatedError):
        tokens.verify(tokens.issue(app.auth.machine_users["clerk"]))


async def test_beside_other_callers() -> None:
    """Where the app has an authenticator of its own, it is asked about all other tokens, and other schemes."""
    authenticate = JWTAuthenticator(issuer=ISSUER, audience=AUDIENCE, secret=SECRET)
    async with serve(create_asgi(shop(), MemoryPlatform(), authenticate=authenticate)) as client:
        clerk = await token_of(client, "clerk", CLERK_SECRET)
        assert (await client.execute("{ me }", headers=bearer(token()))).data == {"me": "ann"}
        assert (await client.execute("{ me }", headers=bearer(clerk))).status == 200

    def by_basic(connection: Any) -> User:
        return User(connection.headers["authorization"], "user")

    async with serve(create_asgi(shop(), MemoryPlatform(), authenticate=by_basic)) as client:
        answer = await client.execute("{ me }", headers=basic("a", "b"))
        assert answer.data == {"me": basic("a", "b")["authorization"]}


async def test_without_an_authenticator_other_credentials_are_refused(client: GraphQLClient) -> None:
    """Rather than taken for nobody's; without any, the caller is anonymous."""
    for headers in (bearer("whatever"), basic("clerk", CLERK_SECRET), bearer(token())):
        assert (await client.execute("{ me }", headers=headers)).codes == ["UNAUTHENTICATED"]
    assert (await client.run("{ me }"))["me"] == User().id


async def test_a_secret_that_is_not_set_is_told_to_the_operators(
    client: GraphQLClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its machine user learns to try again later; the others go on."""
    issued = await token_of(client, "manager", SECRET)
    for value in (None, "too-short-to-be-safe"):
        caplog.clear()
        monkeypatch.delenv("GQLPLUGIN_TEST_MANAGER", raising=False)
        if value:
            monkeypatch.setenv("GQLPLUGIN_TEST_MANAGER", value)
        response = await ask(client, "manager", SECRET)
        assert (response.status_code, response.json()["error"]) == (503, "temporarily_unavailable")
        called = await client.execute("{ me }", headers=bearer(issued))
        assert (called.status, called.codes) == (503, ["AUTHENTICATION_UNAVAILABLE"])
        assert "GQLPLUGIN" not in response.text + str(called.errors)
        assert "machine user 'manager'" in caplog.text or "GQLPLUGIN_TEST_MANAGER" in caplog.text
        assert "too-short-to-be-safe" not in caplog.text
        assert (await ask(client, "clerk", CLERK_SECRET)).status_code == 200


async def test_nothing_shows_secrets_or_tokens(client: GraphQLClient, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the log at any level, nor what `repr` says of the definitions."""
    caplog.set_level(logging.DEBUG)
    issued = await token_of(client, "clerk", CLERK_SECRET)
    await ask(client, "clerk", "a-wrong-secret-of-the-clerk")
    await client.execute("{ me }", headers=bearer(issued))
    await client.execute("{ me }", headers=bearer(issued[:-3]))
    ours = "\n".join(record.getMessage() for record in caplog.records)
    auth = shop().auth
    shown = f"{ours} {auth!r} {vars(auth)!r}"
    assert not [text for text in (CLERK_SECRET, "a-wrong-secret-of-the-clerk", issued[:-3]) if text in shown]


async def test_routes_for_an_app_of_ones_own() -> None:
    """`token_routes` stands beside `graphql_routes`; without secrets there is nothing to serve."""
    app, platform = shop(), MemoryPlatform()
    asgi = Starlette(routes=[*graphql_routes(app, platform), *token_routes(app)], lifespan=lifespan(app, platform))
    async with serve(asgi) as client:
        issued = await token_of(client, "clerk", CLERK_SECRET)
        assert (await client.execute("{ me }", headers=bearer(issued))).status == 200
    without = define_app("shop", auth=define_auth("shop-auth", Literal["clerk"]), resolvers=[me])
    with pytest.raises(DefinitionError, match=r"define_auth\(secrets=\)"):
        token_routes(without)
    async with serve(create_asgi(without, MemoryPlatform())) as client:
        assert (await client.http.post("/oauth2/token", data=FORM)).status_code == 404
        assert (await client.execute("{ me }", headers=bearer(issued))).data == {"me": User().id}


def test_definitions_are_checked() -> None:
    """Unknown names are reported together, and a short secret by the name of its machine user, not by its value."""
    secrets = {"clrk": SecretStr(CLERK_SECRET), "mangr": SecretStr(CLERK_SECRET)}
    with pytest.raises(DefinitionError) as caught:
        define_auth("shop-auth", Literal["clerk"], secrets=secrets)
    assert len(caught.value.problems) == 2
    assert all(__file__ in text and "a secret for" in text for text in caught.value.problems)
    with pytest.raises(DefinitionError, match=r"secret of 'clerk' .* has less than 32 bytes") as short:
        define_auth("shop-auth", Literal["clerk"], secrets={"clerk": SecretStr("short-secret")})
    assert "short-secret" not in str(short.value)


@pytest.mark.parametrize("value", [None, "too-short"])
async def test_a_secret_of_no_use_is_found_when_the_app_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str | None
) -> None:
    """The log names the machine user before it asks for a token, and not the secret; the app serves the rest."""
    monkeypatch.delenv("GQLPLUGIN_TEST_MANAGER", raising=False)
    if value is not None:
        monkeypatch.setenv("GQLPLUGIN_TEST_MANAGER", value)
    async with serve(create_asgi(shop(), MemoryPlatform())) as client:
        (line,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
        await token_of(client, "clerk", CLERK_SECRET)
    assert "'manager'" in line
    assert "too-short" not in line
