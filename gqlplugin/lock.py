"""Locks that one process of a machine holds at a time, such as the one for running the jobs of a file."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress

_own: dict[int, tuple[int, int]] = {}
"""Open descriptors that forked children must not have, with the device and inode by which to recognize each."""
_forking = threading.RLock()
"""Held while a child is forked, which must not happen between opening a descriptor and registering it."""


class FileLock:
    """An `flock` on a file, which is created for it. The kernel releases it when the process dies, however it dies.

    A forked child does not hold the lock. (POSIX record locks are not inherited either, but a process loses them as
    soon as any of its code, such as a backup, opens and closes the file.)
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if nobody has it; returns whether it is held now."""
        if self._descriptor in _own:
            return True
        with _forking:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            keep_from_children(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            let_go(descriptor)
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let another process take it. The file stays: removing it would let two processes lock two files."""
        if self._descriptor in _own:
            let_go(self._descriptor)
            # closing is not enough where native code has forked a child, which has a copy of the descriptor
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
        self._descriptor = None


def keep_from_children(descriptor: int) -> None:
    """Keep forked children from having a descriptor, whose lock or connection would outlive this process in them."""
    _own[descriptor] = _identity_of(descriptor)


def let_go(descriptor: int) -> None:
    """Undo `keep_from_children`, before the descriptor is closed."""
    _own.pop(descriptor, None)


def _identity_of(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _after_fork_in_child() -> None:
    try:
        if _own:
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for descriptor, identity in _own.items():
                with suppress(OSError):  # a connection that was lost is closed, and its number may be another file's
                    if _identity_of(descriptor) == identity:
                        # replaced, not closed: objects of the parent may close this number later in the child
                        os.dup2(nothing, descriptor, inheritable=False)
            os.close(nothing)
            _own.clear()
    finally:
        _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_after_fork_in_child)
