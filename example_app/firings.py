"""What the demo shows of executors: a large order and a payment, and what happens by itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from example_app.frontend import DemoError, Frontend, PaymentProvider

MANAGER = {"Authorization": "Bearer demo-manager"}
EXPECTED = ("order-placed", "order-created", "payment-received")

PLACE_LARGE = """mutation {
  placeOrder(customerId: "bob", item: "A bicycle", totalCents: 79900) { id }
}"""
EXECUTORS = "query { executors { name disabled operationKind operationDetail nextTime } }"
LATEST = """query ($executor: String!) {
  executorJobs(executor: $executor, first: 1) { edges { node { id status error skipped workflowRunId } } }
}"""


def play_executors(frontend: Frontend, provider: PaymentProvider, console: Console) -> None:
    """Place a large order, tell of its payment, and show what the executors do.

    Raises:
        DemoError: Something of it does not happen.
    """
    before = {name: firing["id"] for name in EXPECTED if (firing := latest(frontend, name))}
    order_id = frontend.send(PLACE_LARGE)["placeOrder"]["id"]
    console.print(f"\nSome things happen by themselves. Bob orders a bicycle: [bold]{order_id}[/]. His bank sends\n")
    answer = provider.tell({"order_id": order_id, "customer_id": "bob", "amount_cents": 79900})
    request = answer.request
    console.print(f"[cyan]POST {request.url.path}[/]")
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        console.print(f"[cyan]{name}: {request.headers[name]}[/]")
    console.print(f"[cyan]{request.content.decode()}[/]\n\nand has the answer {answer.status_code} at once.\n")
    wait_for_firings(frontend, before)
    console.print(table_of_executors(frontend))


def wait_for_firings(frontend: Frontend, before: Mapping[str, str]) -> None:
    """Return once the executors have done what they do.

    Args:
        frontend: Asks.
        before: The latest firings by then.

    Raises:
        DemoError: They don't within half a minute.
    """
    deadline = time.monotonic() + 30
    waiting = list(EXPECTED)
    while waiting:
        firing = latest(frontend, waiting[0])
        if firing and firing["id"] != before.get(waiting[0]) and firing["status"] in ("SUCCESS", "FAILED"):
            waiting.pop(0)
        elif time.monotonic() > deadline:
            raise DemoError(f"Executor {waiting[0]} has not fired within half a minute.")
        else:
            time.sleep(0.05)


def latest(frontend: Frontend, executor: str) -> Any:
    """The latest firing of an executor, if it has fired."""
    edges = frontend.send(LATEST, {"executor": executor}, headers=MANAGER)["executorJobs"]["edges"]
    return edges[0]["node"] if edges else None


def table_of_executors(frontend: Frontend) -> Table:
    """The executors, with what each did last."""
    table = Table("executor", "does", "lately", title="The executors, as the manager sees them", title_justify="left")
    for one in frontend.send(EXECUTORS, headers=MANAGER)["executors"]:
        table.add_row(one["name"], f"{one['operationKind'].lower()} {one['operationDetail']}", said_of(frontend, one))
    return table


def said_of(frontend: Frontend, executor: Mapping[str, Any]) -> str:
    """What an executor did last, or why nothing."""
    firing = latest(frontend, executor["name"])
    if firing is None:
        if executor["nextTime"]:
            return f"next time {datetime.fromisoformat(executor['nextTime']).astimezone():%Y-%m-%d %H:%M}"
        return "[dim]disabled[/]" if executor["disabled"] else "[dim]not yet[/]"
    if firing["error"]:
        return f"[red]{firing['status']}[/] {firing['error']}"
    if firing["skipped"]:
        return f"[green]{firing['status']}[/] [dim]its condition was not met[/]"
    run_id = firing["workflowRunId"]
    return f"[green]{firing['status']}[/]" + (f" started run …{run_id[-8:]}" if run_id else "")
