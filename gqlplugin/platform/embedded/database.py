"""Opening the journal's file: settings, schema versions, and what can be wrong with it."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from importlib.resources import files

from gqlplugin.errors import FailedPreconditionError, PlatformUnavailableError

APPLICATION_ID = 0x67716C70
SCHEMAS = ("schema.sql", "schema_2.sql", "schema_3.sql", "schema_4.sql", "schema_5.sql", "schema_6.sql")
SCHEMA_VERSION = len(SCHEMAS)
MEMORY = ":memory:"
BUSY_TIMEOUT_SECONDS = 5.0
_BUSY_RETRY_SECONDS = 0.01


def open_writer(path: str) -> sqlite3.Connection:
    """A connection that may write, to a file with the current schema; the file is made if it isn't there.

    Raises:
        FailedPreconditionError: The file can't be used as a journal; the message says why.
    """
    _create(path)
    try:
        connection = _connect(path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    try:
        _migrate(connection, path)  # first: the file of another application is left as it is
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise _unusable(path, error) from error
        raise
    return connection


def _create(path: str) -> None:
    """Make the file for its owner alone, if it isn't there: it holds what callers sent. SQLite says what is wrong."""
    if path != MEMORY:
        with suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode; SQLite does not wait by itself for another process that is opening or closing the file."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_RETRY_SECONDS)
        else:
            return


def _unusable(path: str, error: sqlite3.Error) -> FailedPreconditionError:
    return FailedPreconditionError(f"{path} can't be used as a journal: {error}.")


def open_reader(path: str) -> sqlite3.Connection:
    """A connection that only reads."""
    connection = _connect(path)
    try:
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = _pragma(connection, "user_version")
    application = _pragma(connection, "application_id")
    if version > SCHEMA_VERSION and application == APPLICATION_ID:
        raise FailedPreconditionError(
            f"{path} was written by a newer gqlplugin (schema {version}, and this one knows {SCHEMA_VERSION}): "
            "upgrade gqlplugin."
        )
    if application != APPLICATION_ID:
        if connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            raise FailedPreconditionError(
                f"{path} is the database of another application: give the journal a file of its own."
            )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        version = 0
    for name in SCHEMAS[version:]:  # each adds to those before it
        schema = files(__package__).joinpath(name).read_text()
        for statement in schema.split(";\n"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def unavailable() -> PlatformUnavailableError:
    """The error for a journal that can't be read or written now; what SQLite said is for the log, not for callers."""
    return PlatformUnavailableError("The workflow journal can't be read or written right now: try again later.")
