"""The page about wait points is true."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.identity import User
from gqlplugin.platform.base import Binding, bind
from gqlplugin.runs import ExecutionStatus
from gqlplugin.testing import MemoryPlatform

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "wait-points.md").read_text()
MANAGER, BUYER = (User(id=role, type="user", attributes={"role": role}) for role in ("MANAGER", "BUYER"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


async def test_the_blocks_of_the_page_run() -> None:
    """The run waits, is listed, and goes on with the answer; four eyes refuse what the manager started."""
    names: dict[str, Any] = {"__name__": "wait_points_page"}
    for block in blocks("python"):
        exec(block, names)  # noqa: S102 - our own page
    approve, inbox = blocks("graphql")
    async with MemoryPlatform() as platform, platform.execute(names["app"]):
        arg = '{"order_id": "1", "total_cents": 5}'
        run_id = await platform.start_workflow("order-processing", arg, caller=BUYER)
        async for run in platform.watch(run_id):
            if run.status is ExecutionStatus.WAITING:
                break
        with bind(Binding(platform, names["app"], MANAGER)):
            listed = await names["schema"].execute(inbox)
            assert listed.errors is None
            [edge] = listed.data["pendingWaitPoints"]["edges"]
            assert edge["node"]["request"] == {"orderId": "1", "totalCents": 5}
            answered = await names["schema"].execute(approve, {"run": run_id, "wait": edge["node"]["id"]})
            assert answered.errors is None
        run = [run async for run in platform.watch(run_id)][-1]
    assert json.loads(run.output or "") == "shipped"
    policy = names["FourEyes"](operators=lambda _: True)
    assert policy.may_resolve(MANAGER, run, "approval")
    assert not policy.may_resolve(BUYER, run, "approval")
