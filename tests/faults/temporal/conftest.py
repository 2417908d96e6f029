"""A task queue for each test, as the other tests on Temporal have."""

from tests.temporal_server import task_queue

__all__ = ["task_queue"]
