"""The README's code blocks run, and say what is true."""

import asyncio
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

import gqlplugin
from gqlplugin.asgi import create_asgi
from gqlplugin.cli.serve import find_work
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.tailor.server import create_server
from gqlplugin.runs import ExecutionFilter
from gqlplugin.testing import serve
from tests.contract.support import all_runs, ended
from tests.loopback import TOKEN, WORKSPACE, free_port, serving

pytestmark = pytest.mark.anyio

README = (Path(__file__).parent.parent / "README.md").read_text()
SHOWN_ID = "01a2002e-b2c9-79af-a70d-707a1cf158dc"


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
    for name in (*_files(), "place_order"):
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


async def test_a_plain_resolver_and_a_script_start_runs_as_their_page_shows(modules: Path) -> None:
    """docs/starting-runs.md: the resolver works with the workflow of the one file, and the script beside the server."""
    page = (Path(__file__).parent.parent / "docs/starting-runs.md").read_text()
    resolver, script = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (modules / "place_order.py").write_text(script)
    shop = importlib.import_module("shop")
    names = vars(gqlplugin) | vars(shop)
    exec(resolver, names)  # noqa: S102 - our own page
    app = gqlplugin.define_app(
        "shop", auth=shop.auth, workflows=[shop.order_processing], resolvers=[names["place_order"]]
    )
    platform = EmbeddedPlatform("shop.sqlite")
    async with serve(create_asgi(app, platform)) as client:
        data = await client.run('mutation { placeOrder(orderId: "order-1", customerId: "alice") }')
        assert (await ended(platform, data["placeOrder"])).status == "SUCCESS"
        place_order = importlib.import_module("place_order").place_order
        run = await ended(platform, await asyncio.to_thread(place_order, "order-2", "bob"))
        assert (run.status, run.invoker) == ("SUCCESS", shop.auth.invoker("manager-machine-user"))


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


async def test_the_app_runs_on_a_platform_server(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app that the README moves to `TailorPlatform()` starts a run there, which runs there."""
    shop = importlib.import_module("shop")
    async with serving(create_server(shop.app, shop.EmbeddedPlatform("there.sqlite"), token=TOKEN)) as url:
        monkeypatch.setenv("TAILOR_PLATFORM_URL", url)
        monkeypatch.setenv("TAILOR_PLATFORM_TOKEN", TOKEN)
        monkeypatch.setenv("TAILOR_PLATFORM_WORKSPACE_ID", WORKSPACE)
        tailored = importlib.import_module("tailored")
        mutation, query = _blocks("graphql")
        async with serve(tailored.asgi) as client, asyncio.timeout(60):
            run_id = (await client.run(mutation))["triggerOrderProcessing"]["workflowRunId"]
            run = (await client.run(query, {"id": run_id}))["workflowRun"]
            while run["status"] != "SUCCESS":
                run = (await client.run(query, {"id": run_id}))["workflowRun"]
    assert run["output"] == {"orderId": "order-1", "sentTo": "alice@example.com"}


class Shell:
    """Runs the README's commands in a folder; `gqlplugin` is the one of this environment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S602 - the README's own words
            command,
            check=False,
            shell=True,
            cwd=self._folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @contextmanager
    def running(self, command: str) -> Iterator[str]:
        """Run a server on a free port, and yield its URL."""
        port = free_port()
        command = f"exec {re.sub(' --port [0-9]+', '', command)} --port {port}"
        with subprocess.Popen(command, shell=True, cwd=self._folder, env=self.environment) as server:  # noqa: S602
            try:
                yield _answering(f"http://127.0.0.1:{port}")
            finally:
                server.send_signal(signal.SIGINT)


def _answering(url: str) -> str:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(url, trust_env=False)
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return url


def _commands(section: str) -> list[str]:
    block = re.search(rf"^## {section}$.*?^```console\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert block
    return [line.removeprefix("$ ") for line in block.group(1).splitlines()]


@pytest.mark.usefixtures("modules")
def test_the_commands_do_what_is_said(tmp_path: Path) -> None:
    """The commands of the README, one after another: serve, start and follow, list, show, resume."""
    shell = Shell(tmp_path)
    export, serve_it, start, failed, show, resume = _commands("Command line")
    shell.environment |= dict(pair.split("=") for pair in export.split()[1:])
    with shell.running(serve_it):
        started = shell.run(start)
        assert started.returncode == 0, started.stderr
        run_id = re.match(r"Execution ID: (\S+)\nStatus: pending\n", started.stdout).group(1)  # type: ignore[union-attr]  # else it fails
        assert "Status: success" in started.stdout
        assert run_id not in shell.run(failed).stdout
        shown = shell.run(show.replace(SHOWN_ID, run_id))
        assert "sending to al@example.com" in shown.stdout
        resumed = shell.run(resume.replace(SHOWN_ID, run_id))
        assert (resumed.returncode, resumed.stdout) == (1, "")
        assert "is not in a resumable state" in resumed.stderr


@pytest.mark.usefixtures("modules")
def test_the_platform_is_served(tmp_path: Path) -> None:
    """`serve-platform` answers its token's holder, and nobody else; the token is a file for its owner alone."""
    shell = Shell(tmp_path)
    with shell.running(_commands("Against the Tailor Platform")[0]) as url:
        token = tmp_path / "shop.sqlite.token"
        assert token.stat().st_mode & 0o777 == 0o600
        shell.environment |= {"TAILOR_PLATFORM_TOKEN": token.read_text().strip()}
        listed = shell.run(f"gqlplugin workflow list --platform-url {url} --workspace-id {WORKSPACE}")
        assert "order-processing" in listed.stdout, listed.stderr
        shell.environment |= {"TAILOR_PLATFORM_TOKEN": "not the token"}
        refused = shell.run(f"gqlplugin workflow list --platform-url {url} --workspace-id {WORKSPACE}")
        assert (refused.returncode, refused.stdout) == (1, "")


async def test_the_executors_fire(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed request to the app that the README shows starts the workflow, and the night has its schedule."""
    automated = importlib.import_module("automated")
    testing = importlib.import_module("gqlplugin.testing")
    monkeypatch.setenv("PAYMENTS_SECRET", "whsec_" + "A" * 40)
    body = '{"order_id": "1", "customer_id": "al"}'
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": "delivery-1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook("whsec_" + "A" * 40).sign("delivery-1", now, body),
    }
    async with testing.MemoryPlatform() as platform, serve(create_asgi(automated.app, platform)) as client:
        answer = await client.http.post("/webhooks/order-paid", content=body, headers=headers)
        assert answer.status_code == 204
        [firing] = await all_runs(platform, ExecutionFilter(workflow_name="executor/order-paid"))
        fired = json.loads((await ended(platform, firing.id)).output or "")
        started = await ended(platform, fired["workflow_run_id"])
        assert started.output == '{"order_id":"1","sent_to":"al@example.com"}'
    assert list(automated.app.schedules) == ["executor/nightly-check"]


async def test_the_careful_shop_waits_for_an_answer(modules: Path) -> None:
    """A run waits, is listed among what waits, and goes on with the answer that GraphQL is given."""
    approving = importlib.import_module("approving")
    async with serve(approving.asgi) as client:
        data = await client.run(
            'mutation { placeCarefully(orderId: "1", customerId: "al") { workflowRunId } }',
        )
        run_id = data["placeCarefully"]["workflowRunId"]
        waiting: list[dict[str, Any]] = []
        async with asyncio.timeout(60):
            while not waiting:
                waits = await client.run("{ pendingWaitPoints { edges { node { runId name payload } } } }")
                waiting = waits["pendingWaitPoints"]["edges"]
        payload = {"order_id": "1", "customer_id": "al"}
        assert waiting == [{"node": {"runId": run_id, "name": "approval", "payload": payload}}]
        await client.run("mutation ($id: ID!) { resolveApproval(runId: $id, result: true) { id } }", {"id": run_id})
        query = "query ($id: ID!) { workflowRun(id: $id) { status ... on CarefulOrderRun { output } } }"
        async with asyncio.timeout(60):
            while (run := (await client.run(query, {"id": run_id}))["workflowRun"])["status"] != "SUCCESS":
                assert run["status"] in ("WAITING", "PENDING_RESUME", "RUNNING")
        assert run["output"] == "shipped"


def test_a_worker_takes_what_is_served_on_temporal(modules: Path) -> None:
    """The block's server knows app and platform, which is what the worker that is named takes."""
    scaled = importlib.import_module("scaled")
    work = find_work("scaled:asgi", None, None)
    assert work.app is scaled.app
    assert repr(work.platform) == "<TemporalPlatform 'localhost:7233', namespace 'default', task queue 'shop'>"
    assert work.platform.separate_workers


def test_the_typescript_is_what_is_compiled() -> None:
    """The block is the file that `tests/clients` compiles against the shop's schema."""
    source = Path(__file__).parent / "clients/typescript/src/readme.ts"
    assert _blocks("ts") == [source.read_text()]


def test_every_block_is_run() -> None:
    """No Python block is left out of these tests, and nothing is told at length."""
    assert set(_files()) == {
        "approving",
        "automated",
        "shop",
        "mounted",
        "own_schema",
        "scaled",
        "tailored",
        "test_shop",
    }
    assert len(_files()["shop"].splitlines()) <= 60
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE))
    long = {"Against the Tailor Platform": 30, "Command line": 30, "Executors": 30, "Frontends": 60, "On Temporal": 30}
    later = {name: len(sections[name].splitlines()) + 1 for name in long}
    assert all(later[name] < most for name, most in long.items()), later
    assert 140 <= len(README.splitlines()) - sum(later.values()) <= 200
