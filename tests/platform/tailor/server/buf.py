"""`buf curl`, a client that is not ours: Connect in binary, over HTTP/2 with prior knowledge."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gqlplugin.platform.tailor.proto import operator_pb2
from tests.platform.tailor.server.support import TOKEN, WORKSPACE

BUF = Path(sys.executable).with_name("buf")
SCHEMA = Path(operator_pb2.__file__).with_name("operator.proto")


@dataclass(frozen=True)
class BufCurl:
    """Calls methods of a server.

    Attributes:
        port: The server's, on loopback.
        home: Where buf may keep what it likes.
    """

    port: int
    home: Path

    async def ok(self, method: str, message: Mapping[str, Any] | None = None) -> Any:
        """The answer of a method that must succeed."""
        status, answer, log = await self.call(method, message)
        assert status == 0, (answer, log)
        assert "Content-Type: application/proto" in log
        assert "HTTP/2.0 200" in log
        return answer

    async def call(
        self, method: str, message: Mapping[str, Any] | None = None, *, token: str = TOKEN
    ) -> tuple[int, Any, str]:
        """The exit status, the answer or the error, and buf's log."""
        given = self.home / "request.json"
        given.write_text(json.dumps({"workspaceId": WORKSPACE, **(message or {})}))
        process = await asyncio.create_subprocess_exec(
            BUF,
            *("curl", "--protocol", "connect", "--http2-prior-knowledge", "--verbose", "--schema", SCHEMA.name),
            *("--data", f"@{given}", "--header", f"authorization: Bearer {token}"),
            f"http://127.0.0.1:{self.port}/tailor.v1.OperatorService/{method}",
            cwd=SCHEMA.parent,
            env={"HOME": str(self.home), "BUF_CACHE_DIR": str(self.home), "NO_PROXY": "*"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        log = err.decode()
        answer = json.loads(out) if out else None
        return await process.wait(), answer, log
