"""`TemporalPlatform`: what it is made of, and a service that does not answer."""

import socket
import time
from datetime import timedelta
from typing import Any

import pytest

from gqlplugin.errors import InvalidInputError, NotFoundError, PlatformUnavailableError
from gqlplugin.identity import User
from gqlplugin.platform.temporal import TemporalPlatform
from tests.platform.temporal.support import platform_at

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "options",
    [
        {"address": ""},
        {"namespace": ""},
        {"task_queue": ""},
        {"task_queue": "it's"},
        {"task_queue": 'a"b'},
        {"task_queue": "a\\b"},
        {"task_queue": "a\nb"},
        {"task_queue": "x" * 201},
        {"timeout": timedelta(0)},
        {"heartbeat_timeout": timedelta(0)},
        {"max_concurrent_runs": 0},
        {"threads": 0},
        {"max_arg_bytes": 0},
    ],
)
def test_values_that_can_not_work_are_refused(options: dict[str, Any]) -> None:
    """Empty names, names that no query can hold, and times and numbers of nothing."""
    with pytest.raises(InvalidInputError):
        TemporalPlatform(**{"address": "127.0.0.1:1", "task_queue": "shop", **options})


def test_its_text_tells_no_secret() -> None:
    """The address and the task queue, and not the key."""
    platform = TemporalPlatform("127.0.0.1:1", task_queue="shop", api_key="very-secret")
    assert "secret" not in repr(platform)
    assert "secret" not in repr(vars(platform))
    assert "shop" in repr(platform)


async def test_without_a_service_a_call_says_so_in_time(task_queue: str) -> None:
    """Nobody listens: the platform is entered all the same, and each call is PLATFORM_UNAVAILABLE."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with platform_at(address, task_queue, timeout=timedelta(seconds=2)) as platform:
            with pytest.raises(PlatformUnavailableError):
                await platform.start_workflow("any", "1", caller=User())
            with pytest.raises(PlatformUnavailableError):
                await platform.get_execution("00000000-0000-7000-8000-000000000000")


async def test_a_service_that_says_nothing_is_waited_for_as_long_as_was_said(task_queue: str) -> None:
    """It takes the connection and never answers: the time-out ends the wait."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        async with platform_at(address, task_queue, timeout=timedelta(seconds=1)) as platform:
            begun = time.monotonic()
            with pytest.raises(PlatformUnavailableError):
                await platform.start_workflow("any", "1", caller=User())
            assert time.monotonic() - begun < 30  # a second, on a machine that has one


async def test_runs_of_another_app_are_not_there(temporal_address: str, task_queue: str) -> None:
    """A run's ID says nothing where another task queue is served."""
    async with platform_at(temporal_address, task_queue) as platform:
        run_id = await platform.start_workflow("any", "1", caller=User())
    async with platform_at(temporal_address, f"{task_queue}-other") as other:
        with pytest.raises(NotFoundError):
            await other.get_execution(run_id)
        assert await other.get_jobs([run_id]) == {run_id: []}
