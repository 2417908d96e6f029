"""Three jobs in a row, written twice: for gqlplugin, and for Temporal by hand.

Both add one three times, each time in a job of its own. Of gqlplugin these are a main job and three that it triggers;
of Temporal a workflow with three activities.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow

from gqlplugin import create_workflow, create_workflow_job, define_app

TIMES = 3


@create_workflow_job(name="add-one")
async def add_one(input: int) -> int:
    """A job that is triggered."""
    return input + 1


@create_workflow_job(name="add-three")
async def add_three(input: int) -> int:
    """The main job."""
    total = input
    for _ in range(TIMES):
        total = await add_one.trigger(total)
    return total


adding = create_workflow(name="adding", main_job=add_three)
app = define_app("bench-sums", workflows=[adding])


@activity.defn(name="add-one")
async def add_one_by_hand(number: int) -> int:
    """The job, as an activity."""
    return number + 1


@workflow.defn(name="adding")
class AddingByHand:
    """The main job, as a workflow."""

    @workflow.run
    async def run(self, number: int) -> int:
        """Add one, three times."""
        for _ in range(TIMES):
            number = await workflow.execute_activity(
                add_one_by_hand, number, start_to_close_timeout=timedelta(seconds=30)
            )
        return number
