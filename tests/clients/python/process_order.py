"""Places an order by the generated client, and reads the typed output of its run."""

import asyncio
import os

from shop_client import Client, WorkflowRunStatus
from shop_client.run import RunWorkflowRunOrderProcessingRun


async def process_order() -> str:
    """Place an order, wait until it is processed, and say what it cost."""
    async with Client(os.environ["SHOP_ENDPOINT"], {"authorization": "Bearer demo-alice"}) as client:
        placed = await client.place(customer_id="alice", item="A pound of tea", total_cents=450)
        started = await client.process(order_id=placed.place_order.id, customer_id="alice")
        while True:
            run = (await client.run(started.trigger_order_processing.workflow_run_id)).workflow_run
            if isinstance(run, RunWorkflowRunOrderProcessingRun) and run.output is not None:
                return f"{run.output.customer.name} pays {run.output.total_cents / 100:.2f}"
            if run is None or run.status in (WorkflowRunStatus.FAILED, WorkflowRunStatus.CANCELED):
                raise RuntimeError(run.error if run else "The run is gone.")
            await asyncio.sleep(0.1)


print(asyncio.run(process_order()))  # noqa: T201 - what it is for
