"""Idempotency keys that clients send with requests: what is started under one is started once."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256

from gqlplugin.errors import InvalidInputError, UnsupportedError
from gqlplugin.identity import NIL_UUID, User

MAX_KEY_LENGTH = 255

_BARE = re.compile(r"[\x21\x23-\x2b\x2d-\x7e]+")  # no quote, and no comma, by which proxies join headers
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_KEY = re.compile(r"[\x20-\x7e]+")
_RANDOM_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)


class StartNote:
    """What a platform tells of a start besides the run's ID.

    Attributes:
        is_earlier: Whether the run was there already, from an earlier start with the same key.
    """

    __slots__ = ("is_earlier",)

    def __init__(self) -> None:
        self.is_earlier = False


_note: ContextVar[StartNote | None] = ContextVar("gqlplugin_start_note", default=None)


@contextmanager
def noting_start() -> Iterator[StartNote]:
    """Learn what the platform tells of a start that is made in the block."""
    note = StartNote()
    token = _note.set(note)
    try:
        yield note
    finally:
        _note.reset(token)


def note_earlier_start() -> None:
    """Tell whoever is starting a run here that it was there already.

    Platforms call it in the context of `start_workflow`, before they return the ID of an earlier run.
    """
    note = _note.get()
    if note is not None:
        note.is_earlier = True


class KeyedField:
    """A field at the root of a mutation, with the key that its client sent.

    Each start that its body makes gets a key that follows from the client's, from the field, and from how many starts
    were made before it: a retry that makes the same starts in the same order is answered with the same runs.

    Args:
        key: The client's.
        field: What else the keys follow from: the field, by the names of the schema.
        response_key: Under which the response has the field.
    """

    __slots__ = ("_asked", "_counting", "_earlier", "_field", "_key", "response_key")

    def __init__(self, key: str, *, field: str, response_key: str) -> None:
        self.response_key = response_key
        self._key = key
        self._field = field
        self._asked = 0
        self._earlier = 0
        self._counting = threading.Lock()  # a body may start from several threads

    def __repr__(self) -> str:
        return f"<KeyedField {self._field!r}>"  # an anonymous caller's key is as good as a password

    @property
    def is_applied(self) -> bool:
        """Whether the body made a start with it; otherwise the key did nothing."""
        return self._asked > 0

    @property
    def is_replayed(self) -> bool:
        """Whether every start was answered from an earlier request, so that this one started nothing."""
        return self.is_applied and self._earlier == self._asked

    @contextmanager
    def start(self) -> Iterator[str]:
        """The key of the next start, which is made in the block."""
        with self._counting:
            number = self._asked
            self._asked += 1
        with noting_start() as note:
            yield self._derived(number)
        with self._counting:
            self._earlier += note.is_earlier

    def key_of_event(self, *said: str) -> str | None:
        """A key for telling others that the body has run; None when it made no start, so that a retry runs it anew.

        Args:
            said: What tells the event from others: to whom, for whom, and what.
        """
        return self._derived(*said) if self.is_applied else None

    def _derived(self, *said: str | int) -> str:
        text = json.dumps([self._key, self._field, *said])
        return f"request/{sha256(text.encode()).hexdigest()}"


keyed_field: ContextVar[KeyedField | None] = ContextVar("gqlplugin_keyed_field", default=None)
"""The field that is being resolved in this context, if its client sent a key."""


def refuse_client_key(what: str) -> None:
    """Refuse a start that a client's key can't make exactly once, where the client sent one.

    Args:
        what: The start, as the subject of the error's sentence.

    Raises:
        UnsupportedError: The client sent a key.
    """
    if keyed_field.get() is not None:
        raise UnsupportedError(f"{what} can't be done exactly once under an idempotency key: send the request without.")


def read_header(values: list[str]) -> str:
    """The key in the values of the header Idempotency-Key: a quoted string, as the draft has it, or the bare key.

    Raises:
        InvalidInputError: There are several, or it is malformed.
    """
    if len(values) != 1:
        raise InvalidInputError("The header Idempotency-Key may be sent once.")
    text = values[0].strip(" \t")
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r'\\(["\\])', r"\1", quoted[1])
    elif not _BARE.fullmatch(text):
        raise InvalidInputError(
            "The header Idempotency-Key must be a quoted string of printable ASCII characters, or such characters "
            "without quotes, spaces and commas."
        )
    return check_key(text, "The header Idempotency-Key")


def check_key(key: str, where: str) -> str:
    """A client's key, when it is one.

    Raises:
        InvalidInputError: It is empty, too long, or not of printable ASCII characters.
    """
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise InvalidInputError(f"{where} must have 1 to {MAX_KEY_LENGTH} characters, not {len(key)}.")
    if not _KEY.fullmatch(key):
        raise InvalidInputError(f"{where} must have printable ASCII characters only.")
    return key


def check_unguessable(key: str, user: User) -> None:
    """Refuse a key of an anonymous caller that is not a random UUID.

    All anonymous callers are one to the platform: a key that another can guess would tell that one the run, and keep
    it from starting its own.

    Raises:
        InvalidInputError: It is refused.
    """
    if (user.is_anonymous or user.id == NIL_UUID) and not _RANDOM_UUID.fullmatch(key):
        raise InvalidInputError(
            "The idempotency key of a caller that is not authenticated must be a random UUID (version 4), such as "
            "from crypto.randomUUID(): others could guess any other key."
        )
