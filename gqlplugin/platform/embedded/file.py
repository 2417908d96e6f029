"""Opens the journal's file: settings, schema versions, and checks that it is ours."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from gqlplugin.errors import FailedPreconditionError, OutcomeUnknownError, PlatformUnavailableError

_logger = logging.getLogger("gqlplugin.embedded")

APPLICATION_ID = 0x67716C70
SCHEMAS = ("schema.sql", "schema_2.sql", "schema_3.sql", "schema_4.sql", "schema_5.sql", "schema_6.sql")
SCHEMA_VERSION = len(SCHEMAS)
MEMORY = ":memory:"
BUSY_TIMEOUT_SECONDS = 5.0
_BUSY_RETRY_SECONDS = 0.01
_LARGE_WAL_BYTES = 64 * 1024 * 1024

WRITE_ERRORS = (PlatformUnavailableError, OutcomeUnknownError)
"""What is raised to those who ask for something that is not written, and may be at another time."""


def checked_path(path: str | os.PathLike[str]) -> str:
    """The path of a journal, or `MEMORY`.

    Raises:
        ValueError: It is empty, for which SQLite makes a file that is deleted at the end, or a URI, which is not read.
    """
    name = os.fspath(path)
    if not name or name.startswith("file:"):
        what = "is a URI" if name else "is empty"
        raise ValueError(f"The path of the journal, {name!r}, {what}: name a file, such as 'shop.sqlite'")
    return name


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
        _pragma(connection, "user_version")  # the first read makes the files of WAL mode
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


class JournalLostError(Exception):
    """The file that this process has open is no longer the one that the next process would open."""


class JournalFiles:
    """The files of an open journal, which must stay where they are, and what they are.

    SQLite does not notice when one of them is deleted or replaced: what is written then is gone after a restart.

    Args:
        path: The journal's file. It must be open, in WAL mode.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        real = os.path.realpath(path)  # SQLite opens its own files beside what a symbolic link points to
        self._main = Path(path)
        self._wal = Path(f"{real}-wal")
        self._known = {file: _identity_of(file.stat()) for file in (self._main, self._wal, Path(f"{real}-shm"))}
        self._size = self._main.stat().st_size
        self._large = max(_LARGE_WAL_BYTES, 2 * self._wal.stat().st_size)

    def add(self, path: str) -> None:
        """Another file that must stay: the lock of the process that executes."""
        file = Path(path)
        self._known = {**self._known, file: _identity_of(file.stat())}  # another thread may be checking

    def remove(self, path: str) -> None:
        """It may go from now on."""
        self._known = {file: identity for file, identity in self._known.items() if file != Path(path)}

    def check(self, connection: sqlite3.Connection) -> None:
        """Look at all files; for the thread that writes.

        Raises:
            JournalLostError: One of them is not what it was.
        """
        for file, known in self._known.items():
            try:
                status = file.stat()
            except FileNotFoundError:
                raise JournalLostError(f"{file} was deleted or moved") from None
            if _identity_of(status) != known:
                raise JournalLostError(f"{file} was replaced by another file")
            if file == self._main:
                self._check_size(connection, status.st_size)
            elif file == self._wal and status.st_size >= self._large:
                self._warn_of_wal(status.st_size)

    def _check_size(self, connection: sqlite3.Connection, size: int) -> None:
        if size < self._size:
            pages = _pragma(connection, "page_count")  # after a VACUUM it has as many as it says
            if size < pages * _pragma(connection, "page_size"):
                raise JournalLostError(f"{self.path} was truncated")
        self._size = size

    def _warn_of_wal(self, size: int) -> None:
        while self._large <= size:
            self._large *= 2
        _logger.warning(
            "%s has %d MiB and grows: something reads the journal without an end, such as a backup or a shell with an "
            "open transaction, so that SQLite can't move what is written into the file",
            self._wal,
            size // 2**20,
        )


def _identity_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def will_pass(error: BaseException) -> bool:
    """Whether the same can be written later: the disk is full, the file is locked, an I/O error."""
    return _primary_code(error) in _PASSING


def is_damage(error: BaseException) -> bool:
    """Whether the file is no longer what SQLite has written."""
    return _primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def may_have_committed(error: sqlite3.Error) -> bool:
    """Whether a COMMIT that failed may be found by whoever opens the file after a crash.

    SQLite appends the pages to the WAL, the one that commits them last, and then calls `fsync`. When a write fails,
    that last page is not there, and what precedes it is ignored (https://sqlite.org/fileformat2.html#walformat). When
    something fails after it, the page is there, until the next transaction overwrites it.
    """
    return error.sqlite_errorcode not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)


def touch(connection: sqlite3.Connection) -> None:
    """Change nothing, and have SQLite write a page of the file all the same."""
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _primary_code(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)  # an error of the module itself has none
    return code & 0xFF


_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
)


def unavailable() -> PlatformUnavailableError:
    """The error for a journal that can't be read or written now; what SQLite said is for the log, not for callers."""
    return PlatformUnavailableError("The workflow journal can't be read or written right now: try again later.")
