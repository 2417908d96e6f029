"""How often, and after what waits, what goes out is tried again."""

from __future__ import annotations

import random
from datetime import timedelta

from gqlplugin.execution import RetryPolicy

TEN_ATTEMPTS = RetryPolicy(max_retries=9, initial_backoff=timedelta(seconds=5), max_backoff=timedelta(hours=1))
"""Waits at most 5 s before the second attempt, 21 min before the tenth, and 43 min in all."""


def backoff(policy: RetryPolicy | None, attempt: int, *, at_least: timedelta | None = None) -> timedelta | None:
    """The wait before the next try: by chance up to that of the policy, so that what failed together comes back apart.

    Args:
        policy: That of the operation.
        attempt: The number of the try that failed, from 0.
        at_least: What the other side asked for.
    """
    if policy is None:
        return at_least
    wait = policy.backoff(attempt + 1) * random.random()  # noqa: S311 - not a secret
    return wait if at_least is None else max(wait, at_least)
