"""Which database an engine is connected to, whatever its driver."""

from __future__ import annotations

import os
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Engine

_LOCAL = ("localhost", "127.0.0.1", "::1")
_POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True)
class Location:
    """A database: two engines with the same one see the same rows."""

    backend: str
    host: str
    port: int | None
    database: str


_known: WeakKeyDictionary[Engine, Location | None] = WeakKeyDictionary()


def location_of_engine(engine: Engine) -> Location | None:
    """Where an engine is connected to; None when no other engine can be connected there."""
    try:
        return _known[engine]
    except KeyError:
        return _known.setdefault(engine, location_of_url(engine.url))


def location_of_url(url: URL) -> Location | None:
    """The database that a URL means; None for SQLite's databases in memory."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        path = sqlite_path(url)
        return None if path is None else Location(backend, "", None, os.path.realpath(path))
    given = url.query.get("host")
    host = url.host or (",".join(given) if isinstance(given, tuple) else given) or _LOCAL[0]
    port = url.port or _port(url.query.get("port")) or _POSTGRES_PORT
    return Location(backend, _LOCAL[0] if host in _LOCAL else host, port, url.database or url.username or "")


def sqlite_path(url: URL) -> str | None:
    """The file of a SQLite URL; None for a database in memory."""
    name = url.database or ""
    path, _, query = name.removeprefix("file:").partition("?") if name.startswith("file:") else (name, "", "")
    is_memory = path in ("", ":memory:") or "mode=memory" in query or url.query.get("mode") == "memory"
    return None if is_memory else path


def _port(given: str | tuple[str, ...] | None) -> int | None:
    return int(given) if isinstance(given, str) and given.isdecimal() else None
