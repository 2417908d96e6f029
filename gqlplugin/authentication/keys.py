"""Public keys that tokens are verified with, from PEM texts and from key sets (RFC 7517)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json

from gqlplugin.errors import missing_extra

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
