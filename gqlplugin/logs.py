"""Log records that tell of which run and job they are."""

from __future__ import annotations

import logging

from gqlplugin.platform.base import current_job


class RunContextFilter(logging.Filter):
    """Adds `run_id`, `job_id` and `workflow` to what is logged while a job runs, by whomever.

    It lets everything through. Put it on handlers: a filter of a logger does not see what the loggers below it log.

    ```python
    handler.addFilter(RunContextFilter())
    handler.setFormatter(logging.Formatter("%(levelname)s run=%(run_id)s job=%(job_id)s %(message)s"))
    ```

    Args:
        absent: What the attributes are outside of jobs.
    """

    def __init__(self, absent: str | None = None) -> None:
        super().__init__()
        self._absent = absent

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes; True."""
        job = current_job.get()
        if job is not None:
            run = job.execution
            record.run_id, record.job_id, record.workflow = run.id, job.job_id, run.workflow_name
            return True
        for name in ("run_id", "job_id", "workflow"):
            record.__dict__.setdefault(name, self._absent)  # another handler's filter may have seen the job
        return True
