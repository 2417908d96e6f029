"""What the tests of an app need: a platform in memory."""

from __future__ import annotations

from datetime import timedelta

from gqlplugin.platform.embedded import EmbeddedPlatform


class MemoryPlatform(EmbeddedPlatform):
    """The embedded platform without a file: the same semantics, quick, and gone with the test.

    ```python
    async with MemoryPlatform() as platform, platform.execute(app): ...
    ```
    """

    def __init__(self, *, max_arg_bytes: int = 1024 * 1024, idempotency_key_ttl: timedelta = timedelta(hours=24)) -> None:
        super().__init__(":memory:", max_arg_bytes=max_arg_bytes, idempotency_key_ttl=idempotency_key_ttl)
