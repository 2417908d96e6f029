"""`make demo`: serves the shop, sends the mutation as a frontend would, and follows the run in the terminal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, NoReturn

import httpx
import typer
from rich.console import Console
from rich.json import JSON
from rich.live import Live
from rich.table import Table
from rich.tree import Tree

from example_app.approving import play_approval
from example_app.firings import play_executors
from example_app.frontend import DemoError, Frontend, PaymentProvider, new_signing_key

PORT = 8000
CALLER = {"Authorization": "Bearer demo-alice"}

PLACE = """mutation {
  placeOrder(customerId: "alice", item: "A pound of tea", totalCents: 450) { id }
}"""
TRIGGER = """mutation ($orderId: String!, $customerId: String!) {
  triggerOrderProcessing(orderId: $orderId, customerId: $customerId) { workflowRunId }
}"""
RUN = """query ($id: ID!) {
  workflowRun(id: $id) {
    id workflowName status error startedAt finishedAt
    jobs { stackedName status startedAt finishedAt error progress progressMessage }
    ... on OrderProcessingRun { output { orderId totalCents customer { name email } } }
  }
}"""
OUTBOX = """query {
  notifications { runId recipient message }
  workflowRuns(first: 10) { edges { node { id workflowName status startedAt finishedAt } } }
}"""

MARKS = {
    "RUNNING": "[yellow]RUNNING[/]",
    "SUSPEND": "[cyan]SUSPEND[/]",
    "WAITING": "[magenta]WAITING[/]",
    "CANCELED": "[dim]CANCELED[/]",
    "SUCCESS": "[green]SUCCESS[/]",
    "FAILED": "[red]FAILED[/]",
}

console = Console(soft_wrap=True)


@contextmanager
def served_shop(database: Path, pace: float, **variables: str) -> Iterator[tuple[Frontend, PaymentProvider]]:
    """Run the shop in a process of its own, and end that whatever happens.

    Args:
        database: The file with the runs.
        pace: Seconds each job takes longer.
        variables: More of its environment.

    Raises:
        DemoError: It does not start.
    """
    listener = listen()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    # The server gets a socket that listens already, so that nobody else can take the port in between.
    command = [sys.executable, "-m", "uvicorn", "example_app.main:asgi", "--fd", str(listener.fileno())]
    command += ["--http", "gqlplugin.bounded_http:BoundedHttp"]
    key = new_signing_key()
    variables |= {"SHOP_DATABASE": str(database), "SHOP_PACE": str(pace), "SHOP_WEBHOOK_SECRET": key}
    with tempfile.TemporaryFile() as log, httpx.Client(base_url=url, headers=CALLER, trust_env=False) as http:
        # In a session of its own, Ctrl-C reaches only this process, which then ends the server in good order.
        server = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=os.environ | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[listener.fileno()],
        )
        listener.close()
        try:
            frontend = Frontend(http)
            wait_until_up(frontend, server, log)
            console.print(f"The shop is served at [bold]{url}/graphql[/], its page at [bold]{url}/[/]")
            yield frontend, PaymentProvider(http, key)
        finally:
            end(server)


def end(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to leave, and make it if it doesn't."""
    server.terminate()
    try:
        server.wait(timeout=15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def listen() -> socket.socket:
    """Listen on port 8000, or on any free one if that is taken."""
    try:
        return socket.create_server(("127.0.0.1", PORT))
    except OSError:
        return socket.create_server(("127.0.0.1", 0))


def wait_until_up(frontend: Frontend, server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Return once the shop answers."""
    deadline = time.monotonic() + 30
    while not frontend.is_answered():
        if server.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            raise DemoError(f"The shop did not start:\n{log.read().decode(errors='replace')}")
        time.sleep(0.05)


def follow(frontend: Frontend, run_id: str) -> Any:
    """Show the run until it ends, and return it."""
    if not console.is_terminal:
        return follow_in_lines(frontend, run_id)
    with Live(console=console, refresh_per_second=10) as live:
        for run in states_of(frontend, run_id):
            live.update(tree_of(run))
    return run


def follow_in_lines(frontend: Frontend, run_id: str) -> Any:
    """Where there is no terminal to draw on: one line for each change of a job."""
    seen: set[tuple[str, str]] = set()
    for run in states_of(frontend, run_id):
        for job in run["jobs"]:
            change = (job["stackedName"], job["status"])
            if change not in seen:
                seen.add(change)
                console.print(f"{clock()} {job['stackedName']} {job['status']}")
    console.print(f"{clock()} {run['workflowName']} {run['status']}")
    return run


def states_of(frontend: Frontend, run_id: str) -> Iterator[Any]:
    """The run again and again, until it has ended.

    Raises:
        DemoError: It does not end within a minute.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        run = frontend.send(RUN, {"id": run_id})["workflowRun"]
        yield run
        if run["status"] in ("SUCCESS", "FAILED", "CANCELED"):
            return
        time.sleep(0.1)
    raise DemoError(f"Run {run_id} has not ended within a minute; its status is {run['status']}.")


def tree_of(run: Mapping[str, Any]) -> Tree:
    """The run with its jobs, each below the one that triggered it."""
    tree = Tree(f"[bold]{run['workflowName']}[/] {MARKS.get(run['status'], run['status'])} {elapsed(run)}")
    branches: dict[str, Tree] = {}
    for job in run["jobs"]:
        parent, _, name = job["stackedName"].rpartition("/")
        label = f"{name} {MARKS.get(job['status'], job['status'])} {elapsed(job)}{progress_of(job)}"
        branches[job["stackedName"]] = branches.get(parent, tree).add(label)
    return tree


def progress_of(job: Mapping[str, Any]) -> str:
    """How far a running job says it is."""
    if job["status"] not in ("RUNNING", "SUSPEND") or job["progress"] is None:
        return ""
    return f" [dim]{job['progress']:.0%} {job['progressMessage'] or ''}[/]"


def elapsed(timed: Mapping[str, Any]) -> str:
    """The time between start and end, or until now."""
    if timed["startedAt"] is None:
        return ""
    end = datetime.fromisoformat(timed["finishedAt"]) if timed["finishedAt"] else datetime.now(UTC)
    return f"[dim]{(end - datetime.fromisoformat(timed['startedAt'])).total_seconds():.1f} s[/]"


def clock() -> str:
    """The time of day, for log lines."""
    return datetime.now(UTC).strftime("%H:%M:%S")


def table_of(runs: list[Mapping[str, Any]]) -> Table:
    """Earlier runs, newest first."""
    table = Table("run", "workflow", "status", "took", title="Earlier runs of this database", title_justify="left")
    for run in runs:
        table.add_row(run["id"], run["workflowName"], MARKS.get(run["status"], run["status"]), elapsed(run))
    return table


def play(frontend: Frontend) -> bool:
    """Place an order, process it, and tell how that went.

    Returns:
        Whether the run succeeded.
    """
    order_id = frontend.send(PLACE)["placeOrder"]["id"]
    console.print(f"Alice orders a pound of tea: [bold]{order_id}[/]. The frontend sends\n\n[cyan]{TRIGGER}[/]\n")
    answer = frontend.send(TRIGGER, {"orderId": order_id, "customerId": "alice"})
    run_id = answer["triggerOrderProcessing"]["workflowRunId"]
    console.print(f"and has the run's ID at once: [bold]{run_id}[/]\n")
    run = follow(frontend, run_id)
    if run["status"] != "SUCCESS":
        console.print(f"The run failed: {run['error']}", style="red", markup=False)
        return False
    console.print("\nIts result, which has a type of its own:")
    console.print(JSON.from_data(run["output"]))
    found = frontend.send(OUTBOX)
    for sent in (one for one in found["notifications"] if one["runId"] == run_id):
        console.print(f"In the outbox, to {sent['recipient']}: {sent['message']}", markup=False)
    earlier = [edge["node"] for edge in found["workflowRuns"]["edges"] if edge["node"]["id"] != run_id]
    console.print()
    console.print(table_of(earlier) if earlier else "This was the first run of this database: the next one lists it.")
    return True


def interrupt(*_: object) -> NoReturn:
    """End as with Ctrl-C, so that the server is ended too."""
    raise KeyboardInterrupt


def main(
    database: Annotated[Path, typer.Option(help="The file with the runs; it is kept.")] = Path("shop.sqlite"),
    pace: Annotated[float, typer.Option(help="Seconds each job takes longer, to be watched.")] = 0.5,
) -> None:
    """Show the shop at work."""
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    try:
        with served_shop(database, pace) as (frontend, provider):
            succeeded = play(frontend)
            if succeeded:
                play_executors(frontend, provider, console)
                play_approval(frontend, console)
    except DemoError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    console.print(f"\nThe runs are kept in [bold]{database.resolve()}[/]; `make serve` leaves the shop running.")
    if not succeeded:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
