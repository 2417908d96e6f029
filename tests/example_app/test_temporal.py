"""The shop on Temporal: its settings, its demo, and what it is deployed with."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from example_app.app import serve_shop
from example_app.database import prepare_server
from example_app.platforms import create_platform
from example_app.settings import Settings, TemporalSettings
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.platform.temporal import TemporalPlatform
from gqlplugin.platform.temporal.messages import SEARCH_ATTRIBUTES
from gqlplugin.testing import MemoryPlatform, serve
from tests.example_app.support import ALICE, RUN, place_order, trigger
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KEY = "a-key-that-nobody-may-see"
DEMO = [sys.executable, "-m", "example_app.demo_temporal"]


def test_the_platform_is_a_setting() -> None:
    """The environment moves the shop to Temporal, without another change; a platform that is none is refused."""
    settings = Settings.from_environment(
        {
            "SHOP_PLATFORM": "temporal",
            "SHOP_TEMPORAL_ADDRESS": "temporal:7233",
            "SHOP_TEMPORAL_NAMESPACE": "shops",
            "SHOP_TEMPORAL_API_KEY": KEY,
            "SHOP_TEMPORAL_HEARTBEAT_SECONDS": "5",
            "SHOP_DATA_URL": f"postgresql+asyncpg://shop:{KEY}@postgres/shop",
        }
    )
    assert settings.temporal == TemporalSettings("temporal:7233", "shops", api_key=KEY, heartbeat_seconds=5)
    platform = create_platform(settings)
    assert isinstance(platform, TemporalPlatform)
    assert "'temporal:7233', namespace 'shops', task queue 'shop'" in repr(platform)
    assert KEY not in repr(settings) + repr(platform)
    assert isinstance(create_platform(Settings.from_environment({})), EmbeddedPlatform)
    with pytest.raises(ValueError, match="SHOP_PLATFORM is 'temporel'"):
        Settings.from_environment({"SHOP_PLATFORM": "temporel"})


@pytest.mark.anyio
async def test_the_shop_keeps_its_data_on_a_server(postgres_url: str) -> None:
    """With PostgreSQL an order is placed, processed and notified of; preparing it again changes nothing."""
    await prepare_server(postgres_url)
    await prepare_server(postgres_url)
    platform = MemoryPlatform()
    async with serve(serve_shop(Settings(data_url=postgres_url), platform)) as client:
        client.http.headers.update(ALICE)
        run_id = await trigger(client, await place_order(client))
        async with asyncio.timeout(60):
            async for _ in platform.watch(run_id):
                pass
        run = (await client.run(RUN, {"id": run_id}))["workflowRun"]
        assert run["status"] == "SUCCESS", run
        assert [one["runId"] for one in (await client.run("{ notifications { runId } }"))["notifications"]] == [run_id]


@pytest.mark.temporal
def test_the_demo_kills_a_worker_and_the_run_finishes() -> None:
    """It tells who was killed and who went on; what was recorded before is not run again, and no process is left."""
    done = subprocess.run(DEMO, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    shown = done.stdout
    assert done.returncode == 0, shown + done.stderr
    pids = dict(re.findall(r"(worker [AB]) is process (\d+)", shown))
    killed = re.search(r"kill -9 (\d+): (worker [AB]) dies in the middle of send-notification", shown)
    assert killed is not None, shown
    assert pids[killed[2]] == killed[1]
    other = {"worker A": "worker B", "worker B": "worker A"}[killed[2]]
    assert f"{other} goes on" in shown
    assert shown.index("fetch-customer SUCCESS") < shown.index("kill -9") < shown.index("order-processing SUCCESS")
    assert shown.count("Customer alice is Alice Archer") == 1
    assert "Notified alice@example.com" in shown  # twice where the worker died after it had logged
    assert not any(is_alive(int(pid)) for pid in pids.values())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.temporal
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_behind(number: signal.Signals) -> None:
    """Ctrl-C and a polite kill end the server and the workers before the demo."""
    with subprocess.Popen(DEMO, cwd=ROOT, stdout=subprocess.PIPE, text=True) as shown:
        assert shown.stdout
        line, pids = "", list[int]()
        while "The shop is served at" not in line:
            line = shown.stdout.readline()
            assert line
            pids += [int(pid) for pid in re.findall(r"is process (\d+)", line)]
        assert len(pids) == 2
        assert all(map(is_alive, pids))
        shown.send_signal(number)
        assert shown.wait(timeout=60) == 130
    assert not any(map(is_alive, pids))


def environment_of(service: str) -> Mapping[str, str]:
    found: Mapping[str, str] = SERVICES[service].get("environment", {})
    return found


def test_the_deployment_publishes_the_api_and_no_secret() -> None:
    """Of all services only the API can be reached from elsewhere, and no secret is in the file."""
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published == {"api": ["8000:8000"], "temporal-ui": ["127.0.0.1:8080:8080"]}
    for name in SERVICES:
        for variable, value in environment_of(name).items():
            if re.search("PASSWORD|PWD|SECRET|KEY|DATA_URL", variable):
                assert re.search(r"\$\{\w+:\?set it in deploy/.env\}", value), (name, variable)
    said = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    assert said == set(re.findall(r"^(\w+)=$", (DEPLOY / "env.example").read_text(), re.MULTILINE))


def test_the_deployment_starts_in_order() -> None:
    """Each service waits for what it needs: for a healthy one that has a check, or for the end of one that ends."""
    for name, one in SERVICES.items():
        for needed, how in one.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed], (name, needed)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[needed].get("restart", "no") == "no", (name, needed)
        assert re.search(r":\d[\w.]*$", one["image"]), f"{name} has no fixed version"
        for volume in one.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).is_file(), (name, volume)


def test_the_deployment_is_the_shop_on_temporal() -> None:
    """API and workers run the same app with the same settings, two workers, which get the time to drain."""
    api, worker = SERVICES["api"], SERVICES["worker"]
    assert api["environment"] == worker["environment"]
    settings = Settings.from_environment(worker["environment"])
    assert settings.temporal is not None
    assert settings.temporal.address == "temporal:7233"
    assert settings.temporal.namespace == environment_of("temporal-namespace")["NAMESPACE"]
    assert settings.data_url is not None
    assert worker["deploy"]["replicas"] == 2
    assert int(worker["stop_grace_period"].removesuffix("s")) > settings.temporal.grace_seconds
    assert worker["command"] == ["gqlplugin", "worker", "example_app.main:asgi"]
    assert "example_app.main:asgi" in api["command"]


def test_the_namespace_is_made_with_its_search_attributes(temporal_address: str) -> None:
    """The script makes what workers look for, may run again, and changes the retention."""
    namespace = f"shop-{uuid4().hex}"
    folder = Path(sys.executable).parent
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "TEMPORAL_ADDRESS": temporal_address,
        "NAMESPACE": namespace,
        "TEMPORAL_VERSION_CHECK_DISABLED": "1",
    }

    def run(*command: str, **more: str) -> str:
        variables = environment | more
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for retention in ("720h", "1440h"):
        run("/bin/sh", str(DEPLOY / "setup-namespace.sh"), RETENTION=retention)
    assert "1440h" in run("temporal", "operator", "namespace", "describe", "--namespace", namespace)
    listed = run("temporal", "operator", "search-attribute", "list", "--namespace", namespace)
    for attribute in SEARCH_ATTRIBUTES:
        assert re.search(rf"{attribute.name}\s+{attribute.indexed_value_type.name.title()}\s", listed), listed
