"""Origins of web pages that may use the endpoint (RFC 6454)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from strawberry.http.websocket_origin import normalize_origin

from gqlplugin.errors import DefinitionError

_NULL = "null"


def checked_origins(allowed: Sequence[str]) -> frozenset[str]:
    """Origins as browsers send them.

    Raises:
        DefinitionError: Some are not of this form, or stand for several.
    """
    if isinstance(allowed, str):
        raise DefinitionError(f"allowed_origins= takes a list of origins: write [{allowed!r}].")
    if problems := [f"allowed_origins= has {one!r}: {_advice(one)}" for one in allowed if not _is_origin(one)]:
        raise DefinitionError(problems)
    return frozenset(allowed)


def is_allowed(origin: str, allowed: frozenset[str]) -> bool:
    """Whether pages of an origin may use the endpoint; `null`, which any page can make itself, only when listed."""
    return (normalize_origin(origin) or origin) in allowed


def cors(allowed: frozenset[str], *, debug: bool) -> list[Middleware]:
    """What lets pages of other origins send requests, with cookies; nothing when there are none."""
    if not allowed:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=allowed,
            allow_methods=["GET", "POST"] if debug else ["POST"],
            allow_headers=["authorization", "content-type", "idempotency-key"],
            allow_credentials=True,
        )
    ]


def _is_origin(given: str) -> bool:
    return given == _NULL or (_scheme_of(given) in ("http", "https") and _normal(given) == given)


def _advice(given: str) -> str:
    normal = _normal(given)
    if "*" in given or normal is None or _scheme_of(given) not in ("http", "https"):
        return "write each origin by itself, such as 'https://shop.example'"
    return f"write {normal!r}"


def _normal(given: str) -> str | None:
    """The origin of a URL, with names in ASCII, as browsers send it."""
    normal = normalize_origin(given)
    if normal is None or "*" in normal:
        return None
    scheme, _, host = normal.partition("://")
    try:
        return f"{scheme}://{host.encode('idna').decode()}"
    except UnicodeError:
        return None


def _scheme_of(given: str) -> str:
    return given.partition("://")[0].strip().lower()
