"""Callers by JSON Web Tokens of an identity provider (RFC 7519), as RFC 8725 has it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gqlplugin.authentication.claims import AttributesOf, ClaimError, ClaimsReader
from gqlplugin.authentication.key_sets import RotatingKeys, from_file, from_url
from gqlplugin.authentication.keys import PUBLIC_ALGORITHMS, FixedKeys, Key, Keys, KeySetError, read_pem
from gqlplugin.authentication.request import Authenticated, AuthRequest
from gqlplugin.checks import check_durations
from gqlplugin.errors import (
    AuthenticationUnavailableError,
    DefinitionError,
    FailedPreconditionError,
    UnauthenticatedError,
    missing_extra,
)
from gqlplugin.identity import User
from gqlplugin.oauth.secrets import checked_secret, secret_bytes
from gqlplugin.secret import Secret
from gqlplugin.source import caller_source

try:
    import jwt
    from jwt.algorithms import HMACAlgorithm
except ImportError as error:
    raise missing_extra("JWTAuthenticator", "jwt", error) from error

_SECRET_BYTES: Mapping[str, int] = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518, section 3.2
_WHAT = "The secret of JWTAuthenticator"
_REQUIRED = ["exp", "iss", "aud", "sub"]

_logger = logging.getLogger("gqlplugin.authentication")


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
