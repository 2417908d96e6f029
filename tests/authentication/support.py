"""A server on loopback, keys, and tokens made by hand."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ISSUER, AUDIENCE = "https://id.example/", "shop"
SECRET = "a-secret-of-32-bytes-for-the-tests"  # noqa: S105 - signs what lives as long as a test
RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """The public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, key_id: str, **more: Any) -> dict[str, Any]:
    """The public half as a key of a key set."""
    if isinstance(key, rsa.RSAPrivateKey):
        return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, **more}
    return {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, **more}


def claims(**more: Any) -> dict[str, Any]:
    """Those that pass, for as long as the tests may take, with changes; None leaves one out."""
    now = datetime.now(UTC)
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + timedelta(hours=12), **more}
    return {name: value for name, value in given.items() if value is not None}


def token(key: Any = SECRET, algorithm: str = "HS256", headers: Mapping[str, Any] | None = None, **more: Any) -> str:
    """A token that passes, with changes."""
    return jwt.encode(claims(**more), key, algorithm, dict(headers or {}))


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(header: object, payload: object, key: bytes = b"", digest: str = "sha256") -> str:
    """A token that no library would make."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(hmac.digest(key, signed.encode(), digest)) if key else ''}"


def plain(**more: Any) -> dict[str, Any]:
    """Claims as they are in a token."""
    return {name: int(one.timestamp()) if isinstance(one, datetime) else one for name, one in claims(**more).items()}


def hs256(text: str, key: bytes) -> str:
    return part(hmac.new(key, text.encode(), hashlib.sha256).digest())


@dataclass
class Provider:
    """An identity provider's key set, with a count of how often it was asked for."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay: float = 0.0
    fetches: int = 0
    url: str = ""
    paths: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.fetches += 1
        self.paths.append(request.url.path)
        body = self.body if self.body is not None else json.dumps({"keys": self.keys}).encode()
        status, headers = self.status, self.headers
        await asyncio.sleep(self.delay)
        return Response(body, status, headers)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.answer)])
