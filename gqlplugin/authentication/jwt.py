"""Callers by JSON Web Tokens of an identity provider (RFC 7519), following RFC 8725."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import httpx
from anyio import to_thread
from pydantic import SecretStr
from pydantic_core import from_json

from gqlplugin.authentication.callers import Authenticated, AuthRequest
from gqlplugin.checks import caller_source, check_durations
from gqlplugin.errors import (
    AuthenticationUnavailableError,
    DefinitionError,
    FailedPreconditionError,
    UnauthenticatedError,
    missing_extra,
)
from gqlplugin.identity import NIL_UUID, User
from gqlplugin.secret import Secret, checked_secret, secret_bytes
from gqlplugin.tasks import begin

try:
    from jwt import PyJWK, PyJWTError
    from jwt.algorithms import get_default_algorithms, has_crypto
except ImportError as error:
    raise missing_extra("JWTAuthenticator", "jwt", error) from error
if not has_crypto:
    raise missing_extra("JWTAuthenticator", "jwt", ImportError(name="cryptography"))

PUBLIC_ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""What a public key may verify, by the key's type and curve."""

MAX_KEYS = 64
_MIN_RSA_BITS = 2048  # RFC 7518, section 3.3


class KeySetError(Exception):
    """What was read holds no key that can be used."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key for one algorithm.

    Attributes:
        id: Its `kid`; None when it has none, so that any token may mean it.
    """

    id: str | None
    algorithm: str
    jwk: PyJWK


class Keys(Protocol):
    """Where keys are found."""

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that a token may have been signed with.

        Args:
            key_id: The token's `kid`, if it has one.
            algorithm: The token's, which is an allowed one.
        """
        ...


class FixedKeys:
    """Keys that don't change."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that fit; a key without an ID fits every one."""
        return fitting(self._keys, key_id, algorithm)


def fitting(keys: Iterable[Key], key_id: str | None, algorithm: str) -> list[Key]:
    """The keys for a token's `kid` and algorithm."""
    return [one for one in keys if one.algorithm == algorithm and (key_id is None or one.id in (key_id, None))]


def read_key_set(text: bytes, algorithms: Sequence[str]) -> list[Key]:
    """The keys of a key set that verify one of the algorithms. Others are left out, as RFC 7517 (section 5) has it.

    Raises:
        KeySetError: There is none.
    """
    try:
        value = from_json(text)
    except ValueError:
        raise KeySetError("it is not JSON") from None
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise KeySetError('it is not a JSON object with a list of "keys"')
    keys: list[Key] = []
    for one in listed[:MAX_KEYS]:
        with suppress(PyJWTError, ValueError, TypeError):  # a key that is malformed is left out as well
            keys += _keys_of(one, algorithms) if isinstance(one, dict) else []
    if not keys:
        raise KeySetError(f"it has no public key for {' or '.join(algorithms)}")
    return keys


def read_pem(text: str, key_id: str | None, algorithms: Sequence[str]) -> list[Key]:
    """A key from its PEM text.

    Raises:
        KeySetError: It isn't a public key, or one for other algorithms.
    """
    keys: list[Key] = []
    for name in algorithms:
        handler: Any = get_default_algorithms()[name]
        with suppress(PyJWTError, ValueError, TypeError):  # it is for another of the algorithms, or for none
            keys += _keys_of({**handler.to_jwk(handler.prepare_key(text), as_dict=True), "kid": key_id}, [name])
    if not keys:
        what = f"a public key for {' or '.join(algorithms)}, of at least {_MIN_RSA_BITS} bits if it is RSA"
        raise KeySetError(f"it is not the PEM text of {what}, as `openssl pkey -pubout` writes it")
    return keys


def _keys_of(jwk: Mapping[str, Any], algorithms: Sequence[str]) -> list[Key]:
    """A key once for each of the algorithms that it may be used for."""
    key_id, said, kind, curve = (jwk.get(name) for name in ("kid", "alg", "kty", "crv"))
    is_for_signatures = jwk.get("use", "sig") == "sig" and "verify" in (jwk.get("key_ops") or ["verify"])
    if "d" in jwk or not is_for_signatures or not isinstance(key_id, str | None):
        return []
    sort = (kind, None if kind == "RSA" else curve)
    named = [one for one in algorithms if PUBLIC_ALGORITHMS[one] == sort and said in (one, None)]
    keys = [Key(key_id, one, PyJWK(dict(jwk), one)) for one in named]
    return [key for key in keys if kind != "RSA" or key.jwk.key.key_size >= _MIN_RSA_BITS]


MAX_BYTES = 256 * 1024
_TIMEOUT = timedelta(seconds=5)
_PATIENCE = timedelta(seconds=6)  # longer than a read from a URL, which then says what it came to
_LONGEST_PAUSE = timedelta(minutes=1)

_logger = logging.getLogger("gqlplugin.authentication")


class RotatingKeys:
    """The keys of a key set, kept for a while, and read again when a token names one that isn't there.

    A token with a known key never waits for a read: when the keys are older than `lifetime`, they are read again behind
    it. A token with an unknown key waits for a read, for at most six seconds. However many tokens ask, there is one
    read at a time, and not another one within `cooldown`; after reads that failed, that doubles up to a minute.

    A key that the set no longer has is dropped by the first read that succeeds. While none does, keys are used until
    they are `lifetime + grace` old.

    Args:
        read: Reads its text; raises `OSError`, `httpx.HTTPError` or `KeySetError` when it can't.
        algorithms: Those that are allowed.
        lifetime: How old keys become before they are read again.
        grace: How much older they may become when they can't be read.
        cooldown: How long to wait before reading again what did not help.
        clock: Tells the seconds that have passed since some moment.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[bytes]],
        algorithms: Sequence[str],
        *,
        lifetime: timedelta,
        grace: timedelta,
        cooldown: timedelta = timedelta(seconds=10),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._algorithms = algorithms
        self._lifetime = lifetime.total_seconds()
        self._grace = grace.total_seconds()
        self._cooldown = cooldown.total_seconds()
        self._clock = clock
        self._keys: Sequence[Key] = ()
        self._read_at = -float("inf")
        self._next_try_at = -float("inf")
        self._failures = 0
        self._reading: asyncio.Future[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[Key]:
        """The keys that fit.

        Raises:
            AuthenticationUnavailableError: The key set can't be read, and what was read of it is too old.
        """
        age = self._clock() - self._read_at
        found = fitting(self._keys, key_id, algorithm) if age <= self._lifetime + self._grace else []
        if found and age <= self._lifetime:
            return found
        reading = self._begin_reading()
        if found:
            return found
        if reading is not None:  # who waits may be cancelled, and others wait for the same
            await asyncio.wait([reading], timeout=_PATIENCE.total_seconds())
        if self._clock() - self._read_at > self._lifetime + self._grace:
            raise AuthenticationUnavailableError
        return fitting(self._keys, key_id, algorithm)

    def _begin_reading(self) -> asyncio.Future[None] | None:
        """The read that is under way, or a new one; None while it is too early for that."""
        if self._reading is None and self._clock() >= self._next_try_at:
            self._next_try_at = self._clock() + self._cooldown
            self._reading = begin(self._load())
            self._reading.add_done_callback(self._end_reading)
        return self._reading

    async def _load(self) -> None:
        try:
            self._keys = read_key_set(await self._read(), self._algorithms)
        except Exception as error:
            self._failures += 1
            pause = min(self._cooldown * 2 ** min(self._failures - 1, 10), _LONGEST_PAUSE.total_seconds())
            self._next_try_at = self._clock() + pause
            is_outage = isinstance(error, (OSError, httpx.HTTPError, KeySetError))  # TimeoutError is an OSError
            reason = error if isinstance(error, KeySetError) else type(error).__name__
            _logger.warning(
                "The key set could not be read: %s. The next try is in %g seconds at the earliest.",
                reason,
                pause,
                exc_info=None if is_outage else error,
            )
        else:
            self._read_at, self._failures = self._clock(), 0

    def _end_reading(self, _: asyncio.Future[None]) -> None:
        self._reading = None


def from_file(path: Path) -> Callable[[], Awaitable[bytes]]:
    """Reads a key set from a file.

    Raises:
        DefinitionError: The file can't be read now.
    """

    def read() -> bytes:
        with path.open("rb") as file:
            return _bounded(file.read(MAX_BYTES + 1))

    try:
        read()
    except OSError as error:
        raise DefinitionError(f"JWTAuthenticator can't read jwks_file={str(path)!r}: {error.strerror}.") from None
    return lambda: to_thread.run_sync(read)


def from_url(url: str) -> Callable[[], Awaitable[bytes]]:
    """Reads a key set from where an identity provider publishes it.

    Raises:
        DefinitionError: It is no https URL, nor an http one of this machine.
    """
    if (problem := _problem_with(url)) is not None:
        raise DefinitionError(f"JWTAuthenticator(jwks_url=) {problem}.")

    async def read() -> bytes:
        headers = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity"}
        async with (
            asyncio.timeout(_TIMEOUT.total_seconds()),
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=_TIMEOUT.total_seconds()) as http,
            http.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise KeySetError(f"it was answered with status {response.status_code}")
            text = b""
            async for chunk in response.aiter_raw():
                text = _bounded(text + chunk)
            return text

    return read


def _bounded(text: bytes) -> bytes:
    if len(text) > MAX_BYTES:
        raise KeySetError(f"it is larger than {MAX_BYTES} bytes")
    return text


def _problem_with(url: str) -> str | None:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return "is malformed: give a URL such as https://id.example.com/.well-known/jwks.json"
    if parsed.userinfo or parsed.fragment:
        return "must be without credentials and fragment"
    if parsed.scheme != "https" and not (parsed.scheme == "http" and _is_loopback(parsed.host)):
        return (
            "must begin with https://; http:// is for this machine alone, as keys that others can change prove nothing"
        )
    return None if parsed.host else "names no host"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


AttributesOf = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Makes attributes of claims."""


class ClaimError(Exception):
    """A claim is not of the form that a caller has."""


@dataclass(frozen=True, slots=True)
class ClaimsReader:
    """Makes callers of the claims of tokens that were verified.

    Args:
        user_id: The claim with the caller's ID.
        attributes: The claims that become attributes, or what makes attributes of all claims.
        workspace: The claim with the caller's workspace, if there are any.
    """

    user_id: str
    attributes: Sequence[str] | AttributesOf
    workspace: str | None

    def user(self, claims: Mapping[str, Any]) -> User:
        """The caller.

        Raises:
            ClaimError: The ID or the workspace is missing, or no text.
        """
        user_id = _text(claims, self.user_id)
        if user_id == NIL_UUID:
            raise ClaimError(f"{self.user_id} is the ID of the anonymous caller")
        workspace = NIL_UUID if self.workspace is None else _text(claims, self.workspace)
        return User(user_id, "user", workspace, self._attributes(claims))

    def _attributes(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        if callable(self.attributes):
            return dict(self.attributes(claims))
        return {name: claims[name] for name in self.attributes if name in claims}


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise ClaimError(f"{name} is not a text")
    return value


try:
    import jwt
    from jwt.algorithms import HMACAlgorithm
except ImportError as error:
    raise missing_extra("JWTAuthenticator", "jwt", error) from error

_SECRET_BYTES: Mapping[str, int] = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518, section 3.2
_WHAT = "The secret of JWTAuthenticator"
_REQUIRED = ["exp", "iss", "aud", "sub"]


class _RefusedError(Exception):
    """A token is refused; the text says why, without the token."""


class JWTAuthenticator:
    """Tells callers by the bearer tokens of an identity provider; give it to `create_asgi(authenticate=)`.

    ```python
    authenticate = JWTAuthenticator(
        jwks_url="https://id.example.com/.well-known/jwks.json",
        issuer="https://id.example.com/",
        audience="shop",
        attributes=["roles"],
    )
    ```

    A token must have `exp`, `iss`, `aud` and `sub`, and every token that doesn't pass is refused in the same words; why
    is logged at level INFO. A request without a token is anonymous.

    Args:
        secret: Verifies HS256; at least 32 bytes (48 and 64 for HS384 and HS512).
        public_keys: PEM texts: one, several, or several by their `kid`. Give one of `secret`, `public_keys`,
            `jwks_file` and `jwks_url`.
        jwks_file: The file of a key set (RFC 7517), which is read again as for `jwks_url`.
        jwks_url: Where the provider publishes its key set: https, or http on this machine. It is read again after
            `jwks_lifetime`, and when a token names an unknown key, at most once in ten seconds. Only a token with an
            unknown key waits for that, for at most six seconds.
        algorithms: Those that are allowed; HS256 with a secret, else RS256 and ES256.
        issuer: Whose tokens are taken.
        audience: For whom they must be; with several, for one of them.
        leeway: By how much clocks may differ.
        token_type: The `typ` that the header must have, such as "at+jwt" (RFC 9068); any by default.
        user_id_claim: What becomes `User.id`.
        workspace_claim: What becomes `User.workspace_id`, which tokens must then have.
        attributes: The claims that become `User.attributes`, or a function from all claims to attributes.
        required: Whether to refuse requests without a token.
        max_token_bytes: Longest token that is looked at.
        jwks_lifetime: How old keys become before they are read again, behind the request that finds them so old.
        jwks_grace: How much older they may become while they can't be read. After both together no key is trusted, and
            requests with a token are answered with `AUTHENTICATION_UNAVAILABLE` and status 503.

    Raises:
        DefinitionError: The arguments don't fit together, or a key can't be used.
    """

    def __init__(
        self,
        *,
        issuer: str | Sequence[str],
        audience: str | Sequence[str],
        secret: Secret | str | None = None,
        public_keys: str | Sequence[str] | Mapping[str, str] | None = None,
        jwks_file: str | PathLike[str] | None = None,
        jwks_url: str | None = None,
        algorithms: Sequence[str] | None = None,
        leeway: timedelta = timedelta(seconds=10),
        token_type: str | None = None,
        user_id_claim: str = "sub",
        workspace_claim: str | None = None,
        attributes: Sequence[str] | AttributesOf = (),
        required: bool = False,
        max_token_bytes: int = 8192,
        jwks_lifetime: timedelta = timedelta(minutes=10),
        jwks_grace: timedelta = timedelta(hours=1),
    ) -> None:
        where = f"JWTAuthenticator at {caller_source()}"
        check_durations(where, {"leeway": leeway, "jwks_lifetime": jwks_lifetime, "jwks_grace": jwks_grace})
        given = [one is not None for one in (secret, public_keys, jwks_file, jwks_url)]
        if sum(given) != 1:
            raise DefinitionError("JWTAuthenticator takes one of secret=, public_keys=, jwks_file= and jwks_url=.")
        self._algorithms = _checked_algorithms(algorithms, has_secret=secret is not None)
        self._issuer = _checked_names("issuer", issuer)
        self._audience = _checked_names("audience", audience)
        self._secret = None
        if secret is not None:
            self._secret = _checked_hmac_secret(secret, _min_bytes(self._algorithms))
        elif public_keys is not None:
            self._keys: Keys = FixedKeys(_read_pems(public_keys, self._algorithms))
        else:
            read = from_url(jwks_url) if jwks_url is not None else from_file(Path(jwks_file or ""))
            self._keys = RotatingKeys(read, self._algorithms, lifetime=jwks_lifetime, grace=jwks_grace)
        if leeway < timedelta(0):
            raise DefinitionError(f"JWTAuthenticator(leeway=) must not be negative, as {leeway} is.")
        self._leeway = leeway
        self._type = None if token_type is None else _media_type(token_type)
        self._reader = ClaimsReader(user_id_claim, _checked_attributes(attributes), workspace_claim)
        self._is_required = required
        self._max_token_bytes = max_token_bytes

    async def __call__(self, request: AuthRequest) -> User | Authenticated:
        """The caller of a request.

        Raises:
            UnauthenticatedError: Its token is refused, or missing where one is required.
            AuthenticationUnavailableError: There are no keys to verify it with.
        """
        token = request.bearer_token
        if token is None:
            if self._is_required:
                raise UnauthenticatedError
            return User()
        return await self.verify(token)

    async def verify(self, token: str) -> Authenticated:
        """The caller whom a token names.

        Raises:
            UnauthenticatedError: It is refused.
            AuthenticationUnavailableError: There are no keys to verify it with.
        """
        try:
            claims = await self._claims(token)
            return Authenticated(self._reader.user(claims), self._expiry(claims))
        except (_RefusedError, ClaimError) as error:
            _logger.info("A token was refused: %s", error)
        raise UnauthenticatedError  # outside of the handler, whose text is for the operators

    async def _claims(self, token: str) -> Mapping[str, Any]:
        if len(token) > self._max_token_bytes:
            raise _RefusedError(f"it is longer than {self._max_token_bytes} bytes")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise _RefusedError(type(error).__name__) from None
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise _RefusedError("its algorithm is not an allowed one")
        if self._type is not None and _media_type(header.get("typ")) != self._type:
            raise _RefusedError(f"its type is not {self._type}")
        if self._secret is not None:
            return self._decoded(token, algorithm, self._key_of(self._secret))
        for key in await self._keys.find(header.get("kid"), algorithm):
            try:
                return self._decoded(token, algorithm, key.jwk)
            except jwt.InvalidSignatureError:
                continue  # keys without an ID are tried one by one
        raise _RefusedError("it is signed with no known key")

    def _decoded(self, token: str, algorithm: str, key: jwt.PyJWK | bytes) -> Mapping[str, Any]:
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                options={"require": _REQUIRED},
            )
        except jwt.InvalidSignatureError:
            if isinstance(key, bytes):
                raise _RefusedError("its signature is wrong") from None
            raise
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise _RefusedError(type(error).__name__) from None
        return claims

    def _expiry(self, claims: Mapping[str, Any]) -> datetime:
        try:
            return datetime.fromtimestamp(int(claims["exp"]), UTC) + self._leeway
        except (ValueError, OverflowError, OSError):
            raise ClaimError("exp is no moment") from None

    def _key_of(self, secret: Secret) -> bytes:
        try:
            return secret_bytes(secret, _WHAT, _min_bytes(self._algorithms))
        except FailedPreconditionError as error:
            _logger.error("Tokens can't be verified here: %s", error)
        raise AuthenticationUnavailableError


def _min_bytes(algorithms: Sequence[str]) -> int:
    return max(_SECRET_BYTES[one] for one in algorithms)


def _checked_hmac_secret(given: Secret | str, min_bytes: int) -> Secret:
    secret = checked_secret(given, _WHAT, min_bytes)
    if isinstance(secret, SecretStr):
        try:
            HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret.get_secret_value())
        except jwt.InvalidKeyError:  # anybody who knows a public key could sign with it
            raise DefinitionError(f"{_WHAT} is a key of another kind: give public keys as public_keys=.") from None
    return secret


def _checked_algorithms(given: Sequence[str] | None, *, has_secret: bool) -> Sequence[str]:
    known = _SECRET_BYTES if has_secret else PUBLIC_ALGORITHMS
    if given is None:
        return ("HS256",) if has_secret else ("RS256", "ES256")
    if isinstance(given, str) or not given or not all(one in known for one in given):
        kind = "a secret" if has_secret else "public keys"
        raise DefinitionError(f"JWTAuthenticator(algorithms=) takes a list of {', '.join(known)} with {kind}.")
    return tuple(given)


def _checked_names(what: str, given: str | Sequence[str]) -> list[str]:
    names = [given] if isinstance(given, str) else list(given)
    if not names or not all(names):
        raise DefinitionError(f"JWTAuthenticator({what}=) must not be empty: any token of the provider would pass.")
    return names


def _checked_attributes(given: Sequence[str] | AttributesOf) -> Sequence[str] | AttributesOf:
    if isinstance(given, str):
        raise DefinitionError(f"JWTAuthenticator(attributes=) takes a list of claims: write [{given!r}].")
    return given


def _read_pems(given: str | Sequence[str] | Mapping[str, str], algorithms: Sequence[str]) -> list[Key]:
    if isinstance(given, Mapping):
        pems: list[tuple[str | None, str]] = list(given.items())
    else:
        pems = [(None, pem) for pem in ([given] if isinstance(given, str) else given)]
    keys = []
    for number, (key_id, pem) in enumerate(pems, 1):
        try:
            keys += read_pem(pem, key_id, algorithms)
        except KeySetError as error:
            raise DefinitionError(
                f"JWTAuthenticator(public_keys=) can't use key {key_id or number}: {error}."
            ) from None
    if not keys:
        raise DefinitionError("JWTAuthenticator(public_keys=) has no key.")
    return keys


def _media_type(text: object) -> str:
    """A `typ`, which may leave out `application/` (RFC 7515, section 4.1.9)."""
    return str(text).lower().removeprefix("application/")
