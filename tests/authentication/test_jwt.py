"""Tokens of an identity provider: which pass, and that all that don't are refused alike (RFC 8725)."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt import InsecureKeyLengthWarning
from jwt.algorithms import RSAAlgorithm
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from gqlplugin.asgi import create_asgi
from gqlplugin.authentication.callers import Authenticated
from gqlplugin.authentication.jwt import JWTAuthenticator
from gqlplugin.errors import AuthenticationUnavailableError, DefinitionError, UnauthenticatedError
from gqlplugin.identity import User
from gqlplugin.secret import secret
from gqlplugin.testing import MemoryPlatform, serve
from tests.authentication.support import (
    AUDIENCE,
    EC_KEY,
    ISSUER,
    OTHER_RSA_KEY,
    RSA_KEY,
    SECRET,
    forged,
    hs256,
    jwk,
    part,
    pem,
    plain,
    token,
)
from tests.graphql.shop import define_shop, shop_schema

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)
PEM = pem(RSA_KEY)
PRIVATE_PEM = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
WEAK_RSA_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 - which is to be refused


def authenticator(**more: Any) -> JWTAuthenticator:
    given: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, **more}
    if not given.keys() & {"secret", "public_keys", "jwks_file", "jwks_url"}:
        given["secret"] = SECRET
    return JWTAuthenticator(**given)


async def test_claims_become_the_caller() -> None:
    """ID, workspace, and the attributes that are named; the end is that of the token, with the leeway."""
    exp = NOW.replace(microsecond=0) + timedelta(hours=12)
    made = token(uid="u-1", org="o-1", roles=["CLERK"], phone="12", exp=exp)
    told = await authenticator(
        user_id_claim="uid",
        workspace_claim="org",
        attributes=["roles", "missing"],
        leeway=timedelta(seconds=3),
    ).verify(made)
    assert told == Authenticated(User("u-1", "user", "o-1", {"roles": ["CLERK"]}), exp + timedelta(seconds=3))


async def test_a_function_makes_attributes() -> None:
    """What claims mean may need more than their names."""

    def attributes(claims: Mapping[str, Any]) -> dict[str, Any]:
        return {"role": claims["realm"]["roles"][0]}

    told = await authenticator(attributes=attributes).verify(token(realm={"roles": ["ADMIN"]}))
    assert told.user == User("ann", "user", attributes={"role": "ADMIN"})


@pytest.mark.parametrize(("key", "algorithm"), [(RSA_KEY, "RS256"), (RSA_KEY, "PS256"), (EC_KEY, "ES256")])
async def test_public_keys_verify(key: Any, algorithm: str, tmp_path: Path) -> None:
    """RSA and elliptic curves, from a PEM text, several by their ID, and from the file of a key set."""
    keys = tmp_path / "jwks.json"
    keys.write_text(json.dumps({"keys": [jwk(OTHER_RSA_KEY, "old"), jwk(key, "new")]}))
    made = token(key, algorithm, {"kid": "new"})
    for given in (
        {"public_keys": pem(key)},
        {"public_keys": [pem(OTHER_RSA_KEY), pem(key)]},
        {"public_keys": {"new": pem(key), "old": pem(OTHER_RSA_KEY)}},
        {"jwks_file": keys},
    ):
        allowed = [algorithm, "RS512"]
        assert (await authenticator(**given, algorithms=allowed).verify(made)).user.id == "ann"


async def test_a_subject_is_needed_whatever_the_id_is() -> None:
    """A token that names nobody is none of a caller's."""
    by_uid = authenticator(user_id_claim="uid")
    assert (await by_uid.verify(token(uid="u-1"))).user.id == "u-1"
    for wrong in (token(uid="u-1", sub=None), token()):
        with pytest.raises(UnauthenticatedError):
            await by_uid.verify(wrong)


async def test_several_issuers_and_audiences() -> None:
    """One of each is enough."""
    both = authenticator(issuer=[ISSUER, "https://new.example/"], audience=["shop", "store"])
    made = token(iss="https://new.example/", aud=["store", "else"])
    assert (await both.verify(made)).user.id == "ann"


async def test_leeway() -> None:
    """Clocks may differ by the leeway and no more."""
    late = token(exp=datetime.now(UTC) - timedelta(seconds=60))
    assert (await authenticator(leeway=timedelta(minutes=2)).verify(late)).user.id == "ann"
    with pytest.raises(UnauthenticatedError):
        await authenticator(leeway=timedelta(seconds=30)).verify(late)


async def test_the_type_is_looked_at_when_it_is_said() -> None:
    """A token for another use is refused, such as an ID token where an access token is due (RFC 9068)."""
    access = authenticator(token_type="at+jwt")  # noqa: S106 - a media type
    for name in ("at+jwt", "application/AT+JWT"):
        assert (await access.verify(token(headers={"typ": name}))).user.id == "ann"
    for name in ("JWT", "logout+jwt"):
        with pytest.raises(UnauthenticatedError):
            await access.verify(token(headers={"typ": name}))


def _with_header(**header: Any) -> str:
    signed = f"{part({'alg': 'HS256', **header})}.{part(plain())}"
    return f"{signed}.{hs256(signed, SECRET.encode())}"


REFUSED = {
    "expired": token(exp=NOW - timedelta(minutes=1)),
    "not yet valid": token(nbf=NOW + timedelta(hours=6)),
    "issued in the future": token(iat=NOW + timedelta(hours=6)),
    "no exp": token(exp=None),
    "no iss": token(iss=None),
    "no aud": token(aud=None),
    "no sub": token(sub=None),
    "another issuer": token(iss="https://evil.example/"),
    "another audience": token(aud="bank"),
    "another audience in a list": token(aud=["bank", "shop2"]),
    "an empty subject": token(sub=""),
    "a subject that is a number": forged({"alg": "HS256"}, plain(sub=1), SECRET.encode()),
    "the anonymous caller": token(sub=User().id),
    "exp is a text": forged({"alg": "HS256"}, plain(exp="tomorrow"), SECRET.encode()),
    "exp is beyond all clocks": forged({"alg": "HS256"}, plain(exp=10**30), SECRET.encode()),
    "exp is infinite": forged({"alg": "HS256"}, plain(exp=float("inf")), SECRET.encode()),
    "another secret": token("another secret that has 32 bytes"),
    "a changed signature": token()[:-4] + "AAAA",
    "no signature": token().rpartition(".")[0] + ".",
    "alg none": forged({"alg": "none"}, plain()),
    "alg None": forged({"alg": "nOnE", "typ": "JWT"}, plain()),
    "alg is a list": forged({"alg": ["HS256"]}, plain(), SECRET.encode()),
    "no alg": forged({}, plain(), SECRET.encode()),
    "HS512 with the secret": forged({"alg": "HS512"}, plain(), SECRET.encode(), "sha512"),
    "an RSA key": token(RSA_KEY, "RS256"),
    "critical extensions": _with_header(crit=["exp2"], exp2=1),
    "a detached payload": _with_header(b64=False, crit=["b64"]),
    "a key ID that is a number": _with_header(kid=7),
    "garbage": "garbage",
    "dots": "..",
    "five parts": "a.b.c.d.e",
    "no JSON": f"{part(b'{')}.{part(b'{')}.{part(b'x')}",
    "a list": forged({"alg": "HS256"}, [plain()], SECRET.encode()),
    "nested garbage": forged({"alg": "HS256"}, b"[" * 4000, SECRET.encode()),
    "a nested header": f"{part(b'[' * 4000)}.{part(plain())}.{part(b'x')}",
    "huge": token(padding="x" * 9000),
    "a huge number": forged({"alg": "HS256"}, b'{"exp":' + b"9" * 5000 + b"}", SECRET.encode()),
}


@pytest.fixture(scope="module")
def refusal() -> dict[str, Any]:
    """What every refusal is compared with."""
    return {}


async def _answer(authenticate: Any, headers: list[tuple[str, str | bytes]]) -> tuple[int, bytes, list[Any]]:
    asgi = create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), authenticate=authenticate)
    async with serve(asgi) as client:
        encoded = [(name.encode(), one if isinstance(one, bytes) else one.encode()) for name, one in headers]
        response = await client.http.post("/graphql", json={"query": "{ whoAmI }"}, headers=httpx.Headers(encoded))
    return response.status_code, response.content, response.headers.multi_items()


@pytest.mark.parametrize("why", REFUSED)
async def test_every_refusal_is_the_same(why: str, refusal: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Status, body and headers tell nothing of the reason, which goes to the log without the token."""
    caplog.set_level(logging.DEBUG, "gqlplugin")
    made = REFUSED[why]
    answer = await _answer(authenticator(), [("authorization", f"Bearer {made}")])
    assert answer[0] == 401
    assert json.loads(answer[1])["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    assert refusal.setdefault("answer", answer) == answer
    assert len([record for record in caplog.records if record.name == "gqlplugin.authentication"]) == 1
    assert all(record.levelno <= logging.INFO for record in caplog.records if record.name.startswith("gqlplugin"))
    assert made not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", f"Basic {part(b'a:b')}")],
        [("authorization", "Bearer two words")],
        [("authorization", "Bearer t\u00f6ken".encode())],
        [("authorization", "Bearer \ud83d\udd11".encode("utf-8", "surrogatepass"))],
        [("authorization", f"Bearer {token()}"), ("authorization", f"Bearer {token()}")],
        [("authorization", f"Bearer {token()}, Bearer {token()}")],
    ],
)
async def test_missing_and_malformed_headers_are_refused_alike(
    headers: list[tuple[str, str | bytes]], refusal: dict[str, Any]
) -> None:
    """Where a token is required, none at all is answered like a wrong one; what is malformed is never nobody's."""
    expected = refusal.setdefault("answer", await _answer(authenticator(), [("authorization", "Bearer x")]))
    assert await _answer(authenticator(required=True), headers) == expected
    if headers:
        assert await _answer(authenticator(), headers) == expected


async def test_without_a_token_the_caller_is_anonymous() -> None:
    """Unless one is required: resolvers and policies decide."""
    status, body, _ = await _answer(authenticator(), [])
    assert (status, json.loads(body)) == (200, {"data": {"whoAmI": User().id}})


@pytest.mark.parametrize(
    "made",
    [
        forged({"alg": "HS256"}, plain(), PEM.encode()),
        forged({"alg": "HS256", "kid": "new"}, plain(), PEM.strip().encode()),
        forged({"alg": "none", "kid": "new"}, plain()),
        token(OTHER_RSA_KEY, "RS256", {"kid": "new"}),
        token(RSA_KEY, "RS256", {"kid": "wrong"}),
        token(RSA_KEY, "RS512", {"kid": "new"}),
        token(EC_KEY, "ES256", {"kid": "new"}),
        token(OTHER_RSA_KEY, "RS256", {"kid": "new", "jwk": jwk(OTHER_RSA_KEY, "new")}),
        token(OTHER_RSA_KEY, "RS256", {"kid": "evil", "jku": "http://127.0.0.1:9/jwks.json"}),
        token(OTHER_RSA_KEY, "RS256", {"x5u": "http://127.0.0.1:9/cert.pem"}),
        token(OTHER_RSA_KEY, "RS256", {"kid": "../../../dev/null"}),
    ],
)
async def test_keys_are_the_configured_ones(made: str) -> None:
    """Not what the token brings or points to, nor a public key taken for a secret; a key ID is no path."""
    for one in (authenticator(public_keys={"new": PEM}), authenticator(public_keys={"new": PEM}, algorithms=["RS256"])):
        assert (await one.verify(token(RSA_KEY, "RS256", {"kid": "new"}))).user.id == "ann"
        with pytest.raises(UnauthenticatedError):
            await one.verify(made)


async def test_a_key_is_used_for_what_it_says(tmp_path: Path) -> None:
    """Keys for encryption, private, weak, symmetric and malformed ones, and those of other algorithms, are left out."""
    secret_key = {"kty": "oct", "k": part(SECRET.encode()), "kid": "s", "alg": "HS256"}
    unusable = [
        jwk(RSA_KEY, "1", use="enc"),
        jwk(RSA_KEY, "2", key_ops=["encrypt"]),
        jwk(RSA_KEY, "3", alg="RS512"),
        {**RSAAlgorithm.to_jwk(RSA_KEY, as_dict=True), "kid": "4", "key_ops": ["sign", "verify"]},
        jwk(WEAK_RSA_KEY, "5"),
        jwk(RSA_KEY, "6", n=7),
        {**jwk(RSA_KEY, "7"), "kid": 7},
        secret_key,
        "x",
    ]
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": unusable}))
    with pytest.raises(AuthenticationUnavailableError):
        await authenticator(jwks_file=file).verify(token(RSA_KEY, "RS256"))
    file.write_text(json.dumps({"keys": [*unusable, jwk(EC_KEY, "good")]}))
    one = authenticator(jwks_file=file)
    assert (await one.verify(token(EC_KEY, "ES256"))).user.id == "ann"
    with pytest.warns(InsecureKeyLengthWarning):
        weak = token(WEAK_RSA_KEY, "RS256", {"kid": "5"})
    with pytest.raises(UnauthenticatedError):
        await one.verify(weak)
    for number in range(1, 8):
        with pytest.raises(UnauthenticatedError):
            await one.verify(token(RSA_KEY, "RS256", {"kid": str(number)}))


async def test_a_secret_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read when it is needed; one that is missing or short is told to the operators alone."""
    one = authenticator(secret=secret("GQLPLUGIN_TEST_JWT"))
    for value in (None, "too-short-to-be-safe"):
        if value:
            monkeypatch.setenv("GQLPLUGIN_TEST_JWT", value)
        with pytest.raises(AuthenticationUnavailableError) as caught:
            await one.verify(token())
        assert "GQLPLUGIN_TEST_JWT" not in str(caught.value)
    assert "GQLPLUGIN_TEST_JWT" in caplog.text
    assert "too-short-to-be-safe" not in caplog.text
    monkeypatch.setenv("GQLPLUGIN_TEST_JWT", SECRET)
    assert (await one.verify(token())).user.id == "ann"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"secret": SECRET, "public_keys": PEM}, "takes one of secret="),
        ({"secret": "short-secret"}, "less than 32 bytes"),
        ({"secret": SecretStr(SECRET), "algorithms": ["HS512"]}, "less than 64 bytes"),
        ({"secret": PEM}, "give public keys as public_keys="),
        ({"secret": SECRET, "algorithms": ["RS256"]}, "takes a list of HS256, HS384, HS512"),
        ({"secret": SECRET, "algorithms": ["none"]}, "takes a list of HS256"),
        ({"secret": SECRET, "algorithms": []}, "takes a list of HS256"),
        ({"public_keys": PEM, "algorithms": ["HS256"]}, "takes a list of RS256"),
        ({"public_keys": PEM, "algorithms": "RS256"}, "takes a list of RS256"),
        ({"public_keys": PEM, "algorithms": ["ES256"]}, "key 1: it is not the PEM text of a public key for ES256"),
        ({"public_keys": {"a": "-----BEGIN NOTHING"}}, "can't use key a: it is not the PEM text"),
        ({"public_keys": PRIVATE_PEM}, "key 1: it is not the PEM text of a public key"),
        ({"public_keys": pem(WEAK_RSA_KEY)}, "of at least 2048 bits"),
        ({"public_keys": []}, "has no key"),
        ({"jwks_file": "/nowhere/jwks.json"}, "can't read jwks_file='/nowhere/jwks.json'"),
        ({"jwks_url": "http://id.example/jwks.json"}, "must begin with https://"),
        ({"jwks_url": "ftp://id.example/jwks.json"}, "must begin with https://"),
        ({"jwks_url": "https://user:hunter2@id.example/"}, "must be without credentials"),
        ({"jwks_url": "https://"}, "names no host"),
        ({"issuer": ""}, "issuer=.* must not be empty"),
        ({"audience": []}, "audience=.* must not be empty"),
        ({"attributes": "roles"}, r"write \['roles'\]"),
        ({"leeway": timedelta(seconds=-1)}, "must not be negative"),
    ],
)
def test_what_can_not_be_safe_is_refused_when_it_is_defined(given: dict[str, Any], message: str) -> None:
    """The error says what to write, and holds no secret."""
    with pytest.raises(DefinitionError, match=message) as caught:
        authenticator(**given)
    assert not any(text in str(caught.value) for text in (SECRET, "short-secret", "hunter2", PEM, PRIVATE_PEM))


async def test_nothing_shows_the_secret() -> None:
    """Neither what `repr` says of it, nor a traceback."""
    one = authenticator()
    assert SECRET not in f"{one!r} {vars(one)!r}"
    with pytest.raises(UnauthenticatedError) as caught:
        await one.verify(REFUSED["expired"])
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


async def test_a_function_of_a_plain_connection_goes_on_working() -> None:
    """What was written for Starlette's own class gets more, and need not know."""

    def by_cookie(connection: HTTPConnection) -> User:
        return User(connection.cookies["name"], "user")

    asgi = create_asgi(define_shop(), MemoryPlatform(), schema=shop_schema(), authenticate=by_cookie)
    async with serve(asgi) as client:
        client.http.cookies["name"] = "ann"
        assert await client.run("{ whoAmI }") == {"whoAmI": "ann"}
