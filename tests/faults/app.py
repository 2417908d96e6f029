"""What is started under faults: runs that are told apart by a number."""

from collections import Counter

from gqlplugin.app import define_app
from gqlplugin.job import create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.runs import ExecutionFilter, ExecutionStatus
from gqlplugin.workflow import create_workflow


@create_workflow_job(name="keep-number")
async def keep_number(input: int) -> int:
    return input


numbered = create_workflow(name="numbered", main_job=keep_number)
app = define_app("faults", workflows=[numbered])


async def started(journal: Platform, status: ExecutionStatus | None = None) -> Counter[int]:
    """How many runs there are of each number."""
    counts: Counter[int] = Counter()
    after = None
    while True:
        page = await journal.list_executions(ExecutionFilter(status=status), first=1000, after=after)
        counts.update(int(run.input) for run in page.executions)
        if not page.has_next:
            return counts
        after = page.cursors[-1]
