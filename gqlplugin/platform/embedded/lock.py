"""Which process runs the jobs of a file: the one that holds a lock beside it."""

from __future__ import annotations

import fcntl
import os


class ExecutionLock:
    """An `flock` on `<file>.lock`. The kernel drops it when the process dies, however it dies."""

    def __init__(self, path: str) -> None:
        self._path = f"{path}.lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if nobody has it; says whether it is held now."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let another process take it. The file stays: removing it would let two processes lock two files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
