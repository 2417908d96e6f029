"""`make demo-temporal`: the shop with two workers; one is killed in the middle of a run, and the run goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.json import JSON
from temporalio.client import Client

from example_app.demo import MARKS, PLACE, TRIGGER, clock, console, end, interrupt, served_shop, states_of
from example_app.frontend import DemoError, Frontend

HEARTBEAT_SECONDS = 3
KILLED_IN = "process-order/send-notification"
_PATIENCE_SECONDS = 60
_TRIES = 3


@dataclass(frozen=True)
class Process:
    """A process of the demo, and what it says."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """All of its log."""
        return self.log.read_text(errors="replace")

    def wait_until(self, is_up: Callable[[], bool]) -> None:
        """Return once it is up.

        Raises:
            DemoError: It ends before, or does not come up.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"{self.name} did not start:\n{self.said}")
            time.sleep(0.1)


@contextmanager
def running(name: str, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Iterator[Process]:
    """A process that is ended with the block. Ctrl-C does not reach it: this process ends it in good order."""
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Process(name, process, log)
    finally:
        end(process)


@contextmanager
def temporal_server(folder: Path) -> Iterator[str]:
    """Temporal's development server, in memory; its address."""
    program = str(Path(sys.executable).with_name("temporal"))
    variables = {"TEMPORAL_VERSION_CHECK_DISABLED": "1", "HOME": str(folder)}
    for attempt in range(_TRIES):
        port = free_port()
        command = [program, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port)]
        with running(f"temporal-{attempt}", [*command, "--log-level", "error"], folder, variables) as server:
            try:
                server.wait_until(lambda: asyncio.run(answers(f"127.0.0.1:{port}")))  # noqa: B023 - called at once
            except DemoError:
                if attempt == _TRIES - 1 or server.process.poll() is None:
                    raise
                continue  # somebody else has taken the port
            yield f"127.0.0.1:{port}"
            return


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def answers(address: str) -> bool:
    """Whether a Temporal service is there."""
    try:
        await Client.connect(address)
    except RuntimeError:
        return False
    return True


async def runs_at(address: str, run_id: str) -> int | None:
    """The process that runs the jobs of a run just now; Temporal knows it as `process@machine`."""
    handle = (await Client.connect(address)).get_workflow_handle(run_id)
    pending = (await handle.describe()).raw_description.pending_activities
    identities = [one.last_worker_identity for one in pending if one.HasField("last_started_time")]
    return int(identities[0].partition("@")[0]) if identities else None


def play(frontend: Frontend, address: str, workers: Sequence[Process]) -> bool:
    """Start a run, kill the worker that has it, and follow it to its end.

    Returns:
        Whether the run succeeded.
    """
    order_id = frontend.send(PLACE)["placeOrder"]["id"]
    answer = frontend.send(TRIGGER, {"orderId": order_id, "customerId": "alice"})
    run_id = answer["triggerOrderProcessing"]["workflowRunId"]
    console.print(f"Alice orders a pound of tea, and has the run's ID at once: [bold]{run_id}[/]\n")
    seen: set[tuple[str, str]] = set()
    killed: Process | None = None
    has_gone_on = False
    for run in states_of(frontend, run_id):
        tell_changes(run, seen)
        if killed is None and (KILLED_IN, "RUNNING") in seen:
            killed = kill_worker(address, run_id, workers)
        elif killed is not None and not has_gone_on:
            has_gone_on = tell_who_goes_on(asyncio.run(runs_at(address, run_id)), killed, workers)
    tell(f"{run['workflowName']} {MARKS[run['status']]}")
    return run["status"] == "SUCCESS" and killed is not None and summary(run, workers)


def tell_changes(run: Mapping[str, Any], seen: set[tuple[str, str]]) -> None:
    """A line for each job that has changed."""
    for job in run["jobs"]:
        change = (job["stackedName"], job["status"])
        if change not in seen:
            seen.add(change)
            tell(f"{job['stackedName']} {MARKS.get(job['status'], job['status'])}")


def kill_worker(address: str, run_id: str, workers: Sequence[Process]) -> Process | None:
    """Kill the worker that runs the jobs of a run, and tell; None where none does just now."""
    pid = asyncio.run(runs_at(address, run_id))
    for worker in workers:
        if worker.process.pid == pid and worker.process.poll() is None:
            worker.process.kill()
            tell(f"[bold red]kill -9 {pid}[/]: {worker.name} dies in the middle of {KILLED_IN.rpartition('/')[2]}")
            tell(f"[dim]Temporal waits {HEARTBEAT_SECONDS} seconds for a sign of life ...[/]")
            return worker
    return None


def tell_who_goes_on(pid: int | None, killed: Process, workers: Sequence[Process]) -> bool:
    """Tell that another worker has the run, once it has it."""
    for worker in workers:
        if worker is not killed and worker.process.pid == pid:
            tell(f"[bold green]{worker.name} goes on[/] with what was recorded: what has ended is not run again")
            return True
    return False


def summary(run: Mapping[str, Any], workers: Sequence[Process]) -> bool:
    """Show the result, and what each worker has logged."""
    console.print("\nIts result:")
    console.print(JSON.from_data(run["output"]))
    for worker in workers:
        lines = [line for line in worker.said.splitlines() if "  INFO  " in line]
        console.print(f"\nThe jobs in {worker.name} have logged:")
        console.print("\n".join(f"  {line}" for line in lines) or "  nothing", markup=False)
    return True


def tell(text: str) -> None:
    """A line with the time."""
    console.print(f"{clock()} {text}")


def show(folder: Path, pace: float) -> bool:
    """Start everything, and play."""
    with ExitStack() as stack:
        console.print("Temporal's development server, two workers and an API process are being started ...")
        address = stack.enter_context(temporal_server(folder))
        variables = {
            "SHOP_PLATFORM": "temporal",
            "SHOP_TEMPORAL_ADDRESS": address,
            "SHOP_TEMPORAL_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
            "SHOP_TEMPORAL_GRACE_SECONDS": "1",
        }
        console.print(f"Temporal is at [bold]{address}[/], in memory, for as long as the demo lasts")
        shop = {**variables, "SHOP_DATABASE": str(folder / "shop.sqlite"), "SHOP_PACE": str(pace)}
        command = [sys.executable, "-m", "gqlplugin.cli", "worker", "example_app.main:asgi"]
        workers = [stack.enter_context(running(f"worker {name}", command, folder, shop)) for name in "AB"]
        for worker in workers:
            worker.wait_until(lambda worker=worker: "Ready." in worker.said)  # type: ignore[misc] # mypy can't infer it
            console.print(f"[bold]{worker.name}[/] is process {worker.process.pid}")
        frontend, _ = stack.enter_context(served_shop(folder / "shop.sqlite", pace, **variables))
        console.print("It runs no jobs: it only starts them, and tells how they are doing\n")
        return play(frontend, address, workers)


def main(
    pace: Annotated[float, typer.Option(help="Seconds each job takes longer, to be watched.")] = 1.0,
) -> None:
    """Show the shop on Temporal."""
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="gqlplugin-demo-") as folder:
            succeeded = show(Path(folder), pace)
    except DemoError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if not succeeded:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
