"""What the demo shows of wait points: the run of a large order waits, and the manager lets it go on."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from example_app.firings import MANAGER, latest
from example_app.frontend import DemoError, Frontend

WAITING = """query {
  pendingWaitPoints(name: "approval", first: 100) { edges { node {
    id runId ... on PendingApproval { request { customer item totalCents } }
  } } }
}"""
APPROVE = """mutation ($runId: ID!, $waitId: ID!) {
  resolveApproval(runId: $runId, waitId: $waitId, approved: true, note: "Ride safely.") { id }
}"""
RUN = """query ($id: ID!) { workflowRun(id: $id) { status error ... on OrderProcessingRun { output { note } } } }"""


def play_approval(frontend: Frontend, console: Console) -> None:
    """Show what the payment of the large order started, and approve it.

    Raises:
        DemoError: It does not wait, or does not go on.
    """
    run_id = latest(frontend, "payment-received")["workflowRunId"]
    wait = wait_until_it_waits(frontend, run_id)
    asked = wait["request"]
    console.print(
        f"\nRun …{run_id[-8:]} waits for an approval: {asked['customer']}, {asked['item']}, "
        f"{asked['totalCents'] / 100:.2f} EUR. The manager sends\n\n[cyan]{APPROVE}[/]\n"
    )
    frontend.send(APPROVE, {"runId": run_id, "waitId": wait["id"]}, headers=MANAGER)
    console.print(f"and the run goes on: {outcome_of(frontend, run_id)}")


def wait_until_it_waits(frontend: Frontend, run_id: str) -> Any:
    """Where a run waits, once it does."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        edges = frontend.send(WAITING, headers=MANAGER)["pendingWaitPoints"]["edges"]
        for node in (edge["node"] for edge in edges if edge["node"]["runId"] == run_id):
            return node
        time.sleep(0.05)
    raise DemoError(f"Run {run_id} does not wait for an approval within half a minute.")


def outcome_of(frontend: Frontend, run_id: str) -> str:
    """How a run ended, once it has."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        run = frontend.send(RUN, {"id": run_id}, headers=MANAGER)["workflowRun"]
        if run["status"] == "SUCCESS":
            return f"[green]SUCCESS[/], with the note “{run['output']['note']}”"
        if run["status"] in ("FAILED", "CANCELED"):
            raise DemoError(f"Run {run_id} is {run['status']}: {run['error']}")
        time.sleep(0.1)
    raise DemoError(f"Run {run_id} has not ended within a minute.")
