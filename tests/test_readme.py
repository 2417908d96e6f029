"""The README's code blocks run, and say what is true."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gqlplugin.testing import serve

pytestmark = pytest.mark.anyio

README = (Path(__file__).parent.parent / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def _files() -> dict[str, str]:
    blocks = _blocks("python")
    return {re.match(r"# (\w+)\.py", block).group(1): block for block in blocks}  # type: ignore[union-attr]  # each begins with its name


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The README's files, importable, in a folder that is also the working directory."""
    for name, text in _files().items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in _files():
        sys.modules.pop(name, None)


async def test_the_one_file_answers_as_shown(modules: Path) -> None:
    """The mutation answers with a run ID in the shape that is shown, and the query follows that run to its result."""
    shop = importlib.import_module("shop")
    mutation, query = _blocks("graphql")
    shown: dict[str, Any] = json.loads(_blocks("json")[0])["data"]
    async with serve(shop.asgi) as client:
        data = await client.run(mutation)
        assert data.keys() == shown.keys()
        run_id = data["triggerOrderProcessing"]["workflowRunId"]
        assert len(run_id) == len(shown["triggerOrderProcessing"]["workflowRunId"])
        run = (await client.run(query, {"id": run_id}))["workflowRun"]
        while run["status"] != "SUCCESS":
            assert run["status"] in ("PENDING", "RUNNING")
            run = (await client.run(query, {"id": run_id}))["workflowRun"]
    assert run["output"] == {"orderId": "order-1", "sentTo": "alice@example.com"}
    assert [job["stackedName"] for job in run["jobs"]] == ["process-order", "process-order/fetch-email"]


@pytest.mark.parametrize("name", ["starlette", "fastapi"])
async def test_the_mounted_apps_serve(modules: Path, name: str) -> None:
    """The app mounted in Starlette and in FastAPI starts a run."""
    mounted = importlib.import_module("mounted")
    async with serve(getattr(mounted, name)) as client:
        data = await client.run(_blocks("graphql")[0])
    assert data["triggerOrderProcessing"]["workflowRunId"]


async def test_the_own_schema_triggers(modules: Path) -> None:
    """A resolver as a field of one's own type starts a run on the platform that is bound."""
    own_schema = importlib.import_module("own_schema")
    testing = importlib.import_module("gqlplugin.testing")
    async with testing.MemoryPlatform():
        result = await own_schema.schema.execute(
            'mutation { triggerOrderProcessing(orderId: "1", customerId: "2") { workflowRunId } }'
        )
    assert result.errors is None
    assert result.data["triggerOrderProcessing"]["workflowRunId"]


async def test_the_shown_test_passes(modules: Path) -> None:
    """The test that the README shows passes."""
    await importlib.import_module("test_shop").test_an_order_is_processed()


def test_every_block_is_run() -> None:
    """No Python block is left out of these tests."""
    assert set(_files()) == {"shop", "mounted", "own_schema", "test_shop"}
    assert len(_files()["shop"].splitlines()) <= 60
    assert 140 <= len(README.splitlines()) <= 200
