"""What the tests of the Temporal platform do again and again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from gqlplugin.app import define_app
from gqlplugin.platform.temporal import TemporalPlatform
from gqlplugin.workflow import Workflow


def platform_at(address: str, task_queue: str, **options: Any) -> TemporalPlatform:
    """A platform that counts a process as dead after a few seconds."""
    return TemporalPlatform(address, task_queue=task_queue, **{"heartbeat_timeout": timedelta(seconds=10), **options})


@asynccontextmanager
async def executing(platform: TemporalPlatform, *workflows: Workflow[Any, Any]) -> AsyncIterator[None]:
    """The platform entered, and a worker of these workflows."""
    async with platform, platform.execute(define_app("temporal", workflows=workflows)):
        yield
