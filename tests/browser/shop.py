"""The shop, served by uvicorn, and what its clients other than the browser do."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.loopback import free_port

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60

PLACE = """mutation ($customer: String!, $item: String!, $cents: Int!) {
  placeOrder(customerId: $customer, item: $item, totalCents: $cents) { id }
}"""
TRIGGER = """mutation ($order: String!, $customer: String!) {
  triggerOrderProcessing(orderId: $order, customerId: $customer) { workflowRunId }
}"""
RUN = "query ($id: ID!) { workflowRun(id: $id) { status jobs { id name logs status } } }"


class Shop:
    """A shop on a port of its own, which keeps its file and its port when it is started again.

    Args:
        database: Its file.
        log: Where its server writes.
    """

    def __init__(self, database: Path, log: Path) -> None:
        self._database = database
        self._log = log
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.was_killed = False
        """Whether there was a time in which pages could not reach it."""

    def start(self, *, pace: float = 0) -> None:
        """Serve, until it is killed.

        Args:
            pace: Seconds that each job takes longer; with a large one nothing ends before the next start.
        """
        command = [sys.executable, "-m", "uvicorn", "example_app.main:asgi", "--port", str(self._port)]
        environment = os.environ | {"SHOP_DATABASE": str(self._database), "SHOP_PACE": str(pace)}
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            assert self._server.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server as a power cut does."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
            self.was_killed = True

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def send(self, query: str, variables: dict[str, object] | None = None, *, caller: str = "alice") -> Any:
        """The data of an operation."""
        answer = httpx.post(
            f"{self.url}/graphql",
            json={"query": query, "variables": variables},
            headers={"authorization": f"Bearer demo-{caller}"},
            trust_env=False,
            timeout=SECONDS,
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def place(self, item: str = "Tea", *, cents: int = 450, customer: str = "alice") -> str:
        """Place an order, and return its ID."""
        variables: dict[str, object] = {"customer": customer, "item": item, "cents": cents}
        order_id: str = self.send(PLACE, variables, caller=customer)["placeOrder"]["id"]
        return order_id

    def process(self, order_id: str, *, customer: str = "alice", caller: str = "alice") -> str:
        """Have an order processed, and return the ID of the run."""
        data = self.send(TRIGGER, {"order": order_id, "customer": customer}, caller=caller)
        run_id: str = data["triggerOrderProcessing"]["workflowRunId"]
        return run_id

    def wait_for(self, run_id: str, status: str) -> dict[str, Any]:
        """A run, once it is so."""
        deadline = time.monotonic() + SECONDS
        while True:
            run: dict[str, Any] = self.send(RUN, {"id": run_id}, caller="manager")["workflowRun"]
            if run["status"] == status:
                return run
            assert time.monotonic() < deadline, run
            time.sleep(0.05)
