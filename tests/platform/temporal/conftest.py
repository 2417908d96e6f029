"""What the tests of the Temporal platform share: one server, in memory, and a task queue for each of them."""

from tests.temporal_server import task_queue, temporal_client

__all__ = ["task_queue", "temporal_client"]
