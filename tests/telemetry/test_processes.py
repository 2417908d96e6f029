"""One order of the shop, placed over HTTP in one process and processed in another: its exported spans are one tree."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from example_app.approving import APPROVE, RUN, WAITING
from tests.contract.support import until
from tests.platform.embedded.support import ROOT

pytestmark = pytest.mark.anyio

TRACE, PARENT = f"{0xABCDEF:032x}", f"{0x123456:016x}"
ITEM = "A bicycle that nobody must know of"
PLACE = """mutation PlaceIt($item: String!) {
  placeAndProcessOrder(customerId: "alice", item: $item, totalCents: 60000) { workflowRunId runToken order { id } }
}"""
ALICE, MANAGER = {"authorization": "Bearer demo-alice"}, {"authorization": "Bearer demo-manager"}


@asynccontextmanager
async def process(role: str, directory: Path) -> AsyncIterator[str]:
    """A process of the shop, and what it says when it is ready; it ends by itself when its input does."""
    one = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.telemetry.process", role, str(directory), cwd=ROOT, stdin=PIPE, stdout=PIPE
    )
    assert one.stdin is not None
    assert one.stdout is not None
    try:
        said = (await asyncio.wait_for(one.stdout.readline(), 60)).decode().strip()
        assert said
        yield said
        one.stdin.close()
        assert await asyncio.wait_for(one.wait(), 60) == 0
    finally:
        if one.returncode is None:
            one.kill()
        await one.wait()


def spans_in(directory: Path, role: str) -> list[Any]:
    """What a process exported."""
    return [json.loads(line) for line in (directory / f"{role}.jsonl").read_text().splitlines()]


def id_of(span: Any) -> str:
    found: str = span["context"]["span_id"]
    return found


async def test_one_order_is_one_trace(tmp_path: Path) -> None:
    """From the request's trace to the operation, its starts, runs and jobs: names, kinds, parents, attributes."""

    async with process("worker", tmp_path), process("api", tmp_path) as url, httpx.AsyncClient(trust_env=False) as http:

        async def send(query: str, variables: Any, headers: Any) -> Any:
            answer = (await http.post(url, json={"query": query, "variables": variables}, headers=headers)).json()
            assert "errors" not in answer, answer
            return answer["data"]

        async def wait_id() -> str | None:
            edges = (await send(WAITING, {}, MANAGER))["pendingWaitPoints"]["edges"]
            return next((edge["node"]["id"] for edge in edges if edge["node"]["runId"] == run_id), None)

        async def has_succeeded() -> bool:
            return bool((await send(RUN, {"id": run_id}, MANAGER))["workflowRun"]["status"] == "SUCCESS")

        traced = {**ALICE, "traceparent": f"00-{TRACE}-{PARENT}-01"}
        placed = (await send(PLACE, {"item": ITEM}, traced))["placeAndProcessOrder"]
        run_id = placed["workflowRunId"]
        await send(APPROVE, {"runId": run_id, "waitId": await until(wait_id)}, MANAGER)
        await until(has_succeeded)

        async def review_has_ended() -> bool:
            return any(span["name"] == "run order-review" for span in spans_in(tmp_path, "worker"))

        await until(review_has_ended)

    api, worker = spans_in(tmp_path, "api"), spans_in(tmp_path, "worker")
    both = [span for span in api + worker if span["context"]["trace_id"] == f"0x{TRACE}"]
    by_id = {id_of(span): span for span in both}
    found = Counter((span["name"], span["kind"], _parent_name(span, by_id)) for span in both)
    assert found == {
        ("mutation", "SpanKind.SERVER", f"0x{PARENT}"): 1,
        ("start order-processing", "SpanKind.PRODUCER", "mutation"): 1,
        ("run order-processing", "SpanKind.CONSUMER", "start order-processing"): 2,
        ("job process-order", "SpanKind.INTERNAL", "run order-processing"): 2,
        ("job fetch-customer", "SpanKind.INTERNAL", "job process-order"): 1,
        ("job send-notification", "SpanKind.INTERNAL", "job process-order"): 1,
        ("start executor/order-created", "SpanKind.PRODUCER", "mutation"): 1,
        ("run executor/order-created", "SpanKind.CONSUMER", "start executor/order-created"): 1,
        ("job order-created", "SpanKind.INTERNAL", "run executor/order-created"): 1,
        ("start order-review", "SpanKind.PRODUCER", "job order-created"): 1,
        ("run order-review", "SpanKind.CONSUMER", "start order-review"): 1,
        ("job note-for-review", "SpanKind.INTERNAL", "run order-review"): 1,
    }
    assert {span["name"] for span in worker} >= {name for name, *_ in found if name.startswith(("run ", "job "))}
    assert not any(span["name"].startswith(("run ", "job ")) for span in api)
    assert all(span["status"]["status_code"] == "UNSET" and not span["events"] for span in both)

    def attributes(name: str, **where: Any) -> Any:
        (span,) = (one for one in both if one["name"] == name and one["attributes"].items() >= where.items())
        return span["attributes"]

    assert attributes("mutation") == {"graphql.operation.type": "mutation", "graphql.operation.name": "PlaceIt"}
    of_run = {"gqlplugin.workflow.name": "order-processing", "gqlplugin.run.id": run_id}
    assert attributes("start order-processing") == of_run
    for status, before, recorded in (("WAITING", "PENDING", 0), ("SUCCESS", "PENDING_RESUME", 3)):
        assert attributes("run order-processing", **{"gqlplugin.run.status": status}) == {
            **of_run,
            "gqlplugin.run.attempt": 0,
            "gqlplugin.run.from": before,
            "gqlplugin.run.recorded": recorded,
            "gqlplugin.run.status": status,
        }
    fetched = attributes("job fetch-customer")
    assert len(fetched.pop("gqlplugin.job.id")) == 36
    assert fetched == {
        **of_run,
        "gqlplugin.job.name": "fetch-customer",
        "gqlplugin.job.place": "0.0",
        "gqlplugin.job.status": "SUCCESS",
    }
    text = json.dumps(api + worker)
    for secret in (ITEM, "alice", "60000", placed["runToken"], placed["order"]["id"], "demo-", "Ride safely"):
        assert secret not in text


def _parent_name(span: Any, by_id: dict[str, Any]) -> str:
    parent: str = span["parent_id"]
    return by_id[parent]["name"] if parent in by_id else parent
