"""Signed tokens (RFC 7519), and the endpoint that issues them (RFC 6749, section 4.4)."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_plus

from starlette.requests import Request
from starlette.responses import JSONResponse

from gqlplugin.errors import FailedPreconditionError, missing_extra
from gqlplugin.identity import MachineUser

try:
    import jwt
except ImportError as error:
    raise missing_extra("A token that the app issues", "jwt", error) from error

_ISSUER = "gqlplugin"
_ALGORITHM = "HS256"
_ALWAYS = ("iss", "aud", "sub", "iat", "exp")


def sign(key: bytes, claims: Mapping[str, Any], *, audience: str, lifetime: timedelta) -> str:
    """A token.

    Args:
        key: At least 32 bytes.
        claims: What it says, with its subject as `sub`.
        audience: What it is for.
        lifetime: How long it is valid, from now.
    """
    now = datetime.now(UTC)
    every = {**claims, "iss": _ISSUER, "aud": audience, "iat": now, "exp": now + lifetime}
    return jwt.encode(every, key, algorithm=_ALGORITHM)


def verify(key: bytes, token: str | bytes, *, audience: str, require: Collection[str] = ()) -> Mapping[str, Any] | None:
    """What a token says; None when `sign` did not make it with this key for this audience, or it has expired."""
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            issuer=_ISSUER,
            audience=audience,
            options={"require": [*_ALWAYS, *require]},
        )
    except jwt.InvalidTokenError:
        return None
    return claims


def subject_of(token: str) -> str:
    """Whom a token says that it is of, without any proof; empty when it says nothing."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return ""
    return str(claims.get("sub", ""))


_MAX_BODY_BYTES = 16 * 1024
_FORM = "application/x-www-form-urlencoded"
_logger = logging.getLogger("gqlplugin.authentication")


class TokenIssuer(Protocol):
    """Knows the machine users by their secrets, and issues their tokens."""

    @property
    def lifetime(self) -> timedelta: ...

    def authenticate(self, identifier: str, secret: str) -> MachineUser | None:
        """The machine user whose client ID and secret these are, in a time that tells nothing about the secret."""
        ...

    def issue(self, user: MachineUser) -> str:
        """A token for one of the machine users."""
        ...


class _RefusedError(Exception):
    """A request for a token is refused: RFC 6749, section 5.2.

    Args:
        error: One of the codes of that section.
        description: What was wrong.
        headers: Those of the answer.
    """

    def __init__(self, error: str, description: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(description)
        self.error = error
        self.headers = headers or {}

    def response(self) -> JSONResponse:
        status = 401 if self.error == "invalid_client" else 400
        body = {"error": self.error, "error_description": str(self)}
        return JSONResponse(body, status_code=status, headers={"cache-control": "no-store", **self.headers})


class TokenEndpoint:
    """Answers requests for tokens.

    Args:
        tokens: Issues them.
    """

    def __init__(self, tokens: TokenIssuer) -> None:
        self._tokens = tokens

    async def handle(self, request: Request) -> JSONResponse:
        """Answer a request."""
        try:
            form = await _form_of(request)
            if form.get("grant_type") is None:
                raise _RefusedError("invalid_request", "grant_type is missing.")
            if form["grant_type"] != "client_credentials":
                raise _RefusedError("unsupported_grant_type", "grant_type must be client_credentials.")
            user = self._authenticate(request, form)
            token = self._tokens.issue(user)
        except _RefusedError as error:
            return error.response()
        except FailedPreconditionError as error:
            _logger.error("No tokens can be issued here: %s", error)
            return _unavailable()
        body = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": int(self._tokens.lifetime.total_seconds()),
        }
        return JSONResponse(body, headers={"cache-control": "no-store"})

    def _authenticate(self, request: Request, form: Mapping[str, str]) -> MachineUser:
        authorization = request.headers.get("authorization")
        in_form = form.get("client_id", ""), form.get("client_secret", "")
        if authorization is not None and in_form[1]:
            raise _RefusedError(
                "invalid_request", "The client authenticates in the form or by HTTP Basic, not by both."
            )
        identifier, secret = in_form if authorization is None else _basic(authorization)
        user = self._tokens.authenticate(identifier, secret)
        if user is None:
            headers = {} if authorization is None else {"www-authenticate": "Basic"}
            raise _RefusedError("invalid_client", "The client ID or the client secret is wrong.", headers)
        return user


def _unavailable() -> JSONResponse:
    body = {"error": "temporarily_unavailable", "error_description": "No tokens can be issued right now."}
    return JSONResponse(body, status_code=503, headers={"cache-control": "no-store"})


async def _form_of(request: Request) -> Mapping[str, str]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _FORM:
        raise _RefusedError("invalid_request", f"The content type must be {_FORM}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise _RefusedError("invalid_request", f"The form is larger than {_MAX_BODY_BYTES} bytes.")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise _RefusedError("invalid_request", "The body is not a form.") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise _RefusedError("invalid_request", "A parameter is given more than once.")
    return form


def _basic(authorization: str) -> tuple[str, str]:
    """The client ID and secret, which RFC 6749 (section 2.3.1) has encoded as in a form."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        text = ""
    identifier, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise _RefusedError(
            "invalid_client", "The authorization header must be HTTP Basic.", {"www-authenticate": "Basic"}
        )
    return unquote_plus(identifier), unquote_plus(secret)
