"""Who may call the methods."""

from datetime import UTC, datetime, timedelta

import httpx
import jwt
import pytest
from jwt.warnings import InsecureKeyLengthWarning
from pydantic import SecretStr

from gqlplugin.errors import InvalidInputError
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.platform.tailor.server.served import MachineUserTokens, OperatorToken
from gqlplugin.testing import MemoryPlatform
from tests.platform.tailor.server.support import METHODS, TOKEN, Served, Shop, http_client, shop_server

pytestmark = pytest.mark.anyio

WRONG = {
    "missing": [],
    "empty": [("authorization", "")],
    "no scheme": [("authorization", TOKEN)],
    "another scheme": [("authorization", f"Basic {TOKEN}")],
    "wrong": [("authorization", f"Bearer {TOKEN[:-1]}x")],
    "longer": [("authorization", f"Bearer {TOKEN}x")],
    "no token": [("authorization", "Bearer")],
    "two": [("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")],
    "not ASCII": [("authorization", b"Bearer \xff\xfe")],
    "not a JWT of ours": [("authorization", f"Bearer {jwt.encode({'sub': 'manager'}, 'k' * 32)}")],
}


def tokens_of(shop: Shop, token: str = TOKEN, lifetime: timedelta = timedelta(hours=1)) -> MachineUserTokens:
    return MachineUserTokens(OperatorToken(token), shop.app.auth, lifetime)


async def answer(
    served: Served, headers: list[tuple[str, str | bytes]], method: str = "ListWorkflows"
) -> httpx.Response:
    async with http_client(served.port, token="") as http:
        given = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
        headers_ = httpx.Headers([(b"content-type", b"application/json"), *given])
        return await http.post(f"/tailor.v1.OperatorService/{method}", content=b"{", headers=headers_)


@pytest.mark.parametrize("method", [*METHODS, "NoSuchMethod"])
async def test_no_method_without_the_token(served: Served, method: str) -> None:
    """Without the operator token no method tells anything, not even that it can't read the request."""
    response = await answer(served, [], method)
    assert response.status_code == 401
    assert response.json()["code"] == "unauthenticated"
    assert response.headers["www-authenticate"] == "Bearer"
    assert "gqlplugin-extensions" not in response.headers


@pytest.mark.parametrize("method", METHODS)
async def test_no_method_for_machine_users(served: Served, method: str) -> None:
    """A machine user is known, and may not call the operator's methods."""
    tokens = tokens_of(served.shop)
    token = tokens.issue(tokens.clients["manager"].user)
    response = await answer(served, [("authorization", f"Bearer {token}")], method)
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert response.headers["gqlplugin-extensions"] == "1"


@pytest.mark.parametrize("kind", WRONG)
async def test_one_message_whatever_is_wrong(served: Served, kind: str) -> None:
    """A token that is missing, malformed or wrong gets one and the same answer."""
    response = await answer(served, WRONG[kind])  # type: ignore[arg-type]  # a list of a narrower type
    assert response.status_code == 401
    assert response.json() == (await answer(served, [])).json()
    assert TOKEN not in response.text


async def test_scheme_in_any_case(served: Served) -> None:
    """`bearer` is as good as `Bearer` (RFC 9110, section 11.1)."""
    response = await answer(served, [("authorization", f"bearer {TOKEN}")])
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")


async def test_header_that_is_not_text(served: Served) -> None:
    """A header that can't be read is the client's error."""
    response = await answer(served, [("authorization", f"Bearer {TOKEN}"), ("x-any", b"\xff")])
    assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")


def forged(shop: Shop, **changes: object) -> str:
    """A token of the manager's, with some claims changed or, by None, left out."""
    now = datetime.now(UTC)
    claims: dict[str, object] = {
        "iss": "gqlplugin",
        "aud": "tailor.v1",
        "sub": "manager",
        "namespace": "my-auth",
        "iat": now,
        "exp": now + timedelta(minutes=1),
        **changes,
    }
    key = tokens_of(shop)._key
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm="HS256")


def test_machine_user_tokens() -> None:
    """A token tells the namespace and the name of whom it was issued to."""
    tokens = tokens_of(Shop())
    assert tokens.verify(tokens.issue(tokens.clients["clerk"].user)) == ("my-auth", "clerk")
    assert tokens.verify(forged(Shop())) == ("my-auth", "manager")


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in ("iss", "aud", "sub", "namespace", "iat", "exp")),
        {"iss": "another"},
        {"aud": "another"},
        {"namespace": "another"},
        {"namespace": ["my-auth"]},
        {"sub": "nobody"},
        {"sub": ""},
        {"exp": datetime(2020, 1, 1, tzinfo=UTC)},
        {"iat": datetime(2999, 1, 1, tzinfo=UTC)},
    ],
)
def test_machine_user_tokens_are_checked(changes: dict[str, object]) -> None:
    """A token whose claims are incomplete, old or another's is none."""
    shop = Shop()
    assert tokens_of(shop).verify(forged(shop, **changes)) is None


def test_tokens_of_another_key() -> None:
    """A token under another operator token, another algorithm or none is none."""
    shop = Shop()
    tokens, others = tokens_of(shop), tokens_of(shop, "another-operator-token")
    assert tokens.verify(others.issue(others.clients["manager"].user)) is None
    claims = jwt.decode(forged(shop), options={"verify_signature": False})
    assert tokens.verify(jwt.encode(claims, "", algorithm="none")) is None
    with pytest.warns(InsecureKeyLengthWarning):
        of_another_algorithm = jwt.encode(claims, tokens._key, algorithm="HS384")
    assert tokens.verify(of_another_algorithm) is None


def test_secrets_follow_from_the_operator_token() -> None:
    """The same operator token gives the same secrets, another gives others, and no two are equal."""
    shop = Shop()

    def secrets(token: str) -> list[str]:
        return [client.client_secret.get_secret_value() for client in tokens_of(shop, token).clients.values()]

    assert secrets(TOKEN) == secrets(TOKEN)
    assert len({*secrets(TOKEN), *secrets("another-operator-token")}) == 4


@pytest.mark.parametrize(
    "token", ["", "fifteen-letters", "sixteen letters ", "sechzehn-umläute", "with-a-newline-in\n"]
)
@pytest.mark.parametrize("kind", [str, SecretStr])
def test_weak_operator_tokens(token: str, kind: type[str] | type[SecretStr]) -> None:
    """A token that is short or can't be sent is refused, and not shown."""
    with pytest.raises(InvalidInputError, match="at least 16") as refused:
        create_server(Shop().app, MemoryPlatform(), token=kind(token))
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"workspace_id": "workspace"}, "workspace_id"),
        ({"url": "ftp://shop.example"}, "url"),
        ({"url": "https://user:pass@shop.example"}, "url"),
        ({"url": "https://:pass@shop.example"}, "url"),
        ({"url": "https://shop.example?pass@"}, "url"),
        ({"url": "https://shop.example#pass@"}, "url"),
        ({"url": "https://shop.example:port"}, "url"),
        ({"url": "https://[shop"}, "url"),
        ({"url": "shop"}, "url"),
        ({"token_lifetime": timedelta(0)}, "token_lifetime"),
    ],
)
def test_malformed_options(options: dict[str, object], named: str) -> None:
    """An option that makes no sense is refused by its name."""
    with pytest.raises(InvalidInputError, match=f"^{named} must be") as refused:
        create_server(Shop().app, MemoryPlatform(), token=TOKEN, **options)  # type: ignore[arg-type]  # on purpose
    assert "pass@" not in str(refused.value)


def test_no_secret_in_a_repr() -> None:
    """What holds a secret does not show it."""
    tokens = tokens_of(Shop())
    shown = f"{OperatorToken(TOKEN)!r} {vars(OperatorToken(TOKEN))!r} {tokens!r} {tokens.clients!r}"
    secrets = [client.client_secret.get_secret_value() for client in tokens.clients.values()]
    assert not any(secret in shown for secret in [TOKEN, *secrets])


async def test_extensions_are_announced() -> None:
    """A server with extensions says so in every answer to the operator; one without never does."""
    for extensions in (True, False):
        async with shop_server(extensions=extensions) as served:
            replies = [
                await served.client.call("ListWorkflows"),
                await served.binary.call("ListWorkflows"),
                await served.client.call("GetWorkflow", {"workflowId": "x"}),
                await served.client.call("NoSuchMethod"),
            ]
            assert [reply.status for reply in replies] == [200, 200, 400, 404]
            expected = "1" if extensions else None
            assert [reply.headers.get("gqlplugin-extensions") for reply in replies] == [expected] * 4
