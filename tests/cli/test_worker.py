"""`gqlplugin worker`: a process that runs jobs until it is told to end."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from uuid import uuid4

import grpc  # type: ignore[import-untyped]  # it has no types
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gqlplugin.asgi import create_asgi
from gqlplugin.cli.output import UsageError
from gqlplugin.cli.serve import find_work
from gqlplugin.identity import User
from gqlplugin.platform.base import Binding, Definitions, Platform, bind
from gqlplugin.platform.temporal import TemporalPlatform
from gqlplugin.runs import ExecutionStatus, JobExecution, JobStatus, WorkflowExecution
from gqlplugin.testing import MemoryPlatform, serve
from tests.cli import shop
from tests.cli.conftest import Gqlplugin
from tests.cli.support import APP, ORDER, Running, run_command, running, until
from tests.loopback import free_port

SHOP = ("tests.cli.shop:app", "--database", "shop.sqlite")
LOCAL = (*APP, "--database", "shop.sqlite")
SIGNALS = [signal.SIGINT, signal.SIGTERM]
API_KEY = "an-api-key-that-nobody-may-see"
PATIENCE_SECONDS = 60

MODULE = """
import os
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from temporalio.service import TLSConfig

from gqlplugin import create_asgi, create_schema, define_app, graphql_routes
from gqlplugin.platform.tailor import TailorPlatform
from gqlplugin.platform.temporal import TemporalPlatform
from tests.cli.shop import app

class Middleware:
    def __init__(self, app):
        self.app = app

def make_platform():
    return TemporalPlatform(
        os.environ.get("ADDRESS", "127.0.0.1:1"),
        task_queue=os.environ.get("QUEUE", "shop"),
        heartbeat_timeout=timedelta(seconds=5),
        tls=TLSConfig(server_root_ca_cert=Path(os.environ["CA"]).read_bytes()) if "CA" in os.environ else False,
        api_key=os.environ.get("API_KEY"),
    )

platform = make_platform()
schema = create_schema(app)
asgi = create_asgi(app, platform, schema=schema)
wrapped = Middleware(Middleware(asgi))
api = FastAPI()
api.router.routes.extend(graphql_routes(app, platform, schema=schema))
mounted = Starlette(routes=[Mount("/shop", app=api)])
other = define_app("other", resolvers=[*app.resolvers.values()])
two = Starlette(routes=[Mount("/shop", app=asgi), Mount("/other", app=create_asgi(other, platform))])
none = Starlette()
tailor = TailorPlatform("http://127.0.0.1:1")
tailored = create_asgi(app, tailor)
text = "no platform"
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    """A module of the current directory, under a name that no other test imports."""
    name = f"shop_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return name


@pytest.fixture
def queue() -> str:
    return f"test-{uuid4().hex}"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_worker_runs_jobs_until_it_is_told_to_end(
    gqlplugin: Gqlplugin, tmp_path: Path, number: signal.Signals
) -> None:
    """A worker makes the file, says that it serves nothing, runs what others start, and ends in good order."""
    with running(tmp_path, "worker", *SHOP) as worker:
        worker.says("A worker for the jobs of shop in shop.sqlite. It serves nothing; Ctrl-C ends it.")
        worker.says("Its workflows: pack-order, place-order, queue-order, refund-order, ship-order, sign-order")
        worker.says("Ready.")
        assert gqlplugin("workflow", "start", "place-order", "-a", ORDER, "-W", *LOCAL).code == 0
        worker.says("INFO     looking up 1")
        worker.process.send_signal(number)
        assert worker.ended() == 0
    assert worker.out == ""
    assert "Traceback" not in worker.err


def test_what_jobs_log_reaches_no_terminal_raw(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """A worker writes the log lines of its jobs without what a terminal could act on."""
    with running(tmp_path, "worker", *SHOP) as worker:
        worker.says("Ready.")
        gqlplugin("workflow", "start", "ship-order", "-W", *LOCAL)
        worker.says(r"WARNING  \x1b[31mred")
    assert "\x1b" not in worker.err


def test_a_second_worker_stands_by_and_takes_over(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """Of two workers of a file the second says that it stands by, and that it executes once the first has ended."""
    with running(tmp_path, "worker", *SHOP) as first:
        first.says("Ready.")
        gqlplugin("workflow", "start", "ship-order", "-W", *LOCAL)
        with running(tmp_path, "worker", *SHOP) as second:
            second.says("Another process executes shop.sqlite; this one stands by")
            first.process.terminate()
            second.says("This process now executes shop.sqlite")


def test_a_second_interrupt_ends_it_at_once(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """A worker whose job goes on is ended by the second Ctrl-C, before its ten seconds are over."""
    with running(tmp_path, "worker", *SHOP) as process:
        process.says("Ready.")
        run_id = gqlplugin("workflow", "start", "pack-order", "-a", '"shut"', "-q", *LOCAL).out.strip()
        until(lambda: "at the gate" in gqlplugin("workflow", "executions", run_id, *LOCAL).out)
        process.process.send_signal(signal.SIGINT)
        process.says("Ending.")
        process.process.send_signal(signal.SIGINT)
        assert process.ended() == 130
    assert "were stopped after" not in process.err
    assert "Traceback" not in process.err


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("tests.cli.shop:app",), "A file:      --database FILE, or set GQLPLUGIN_DATABASE"),
        (("tests.cli.shop:app",), "--platform module:platform, or set GQLPLUGIN_PLATFORM"),
        (("--database", "x"), "Name it with -A module:app"),
        (("a:b", "-A", "c:d", "--database", "x"), "'a:b' or 'c:d'"),
        (("tests.cli.shop:app", "--platform", "MODULE:platform", "--database", "x"), "give one of them"),
        (("MODULE:asgi", "--platform", "MODULE:platform"), "leave out --platform"),
        (("MODULE:asgi", "--database", "x"), "leave out --database"),
        (("MODULE:two",), "serves 2 apps: name one with -A, and its platform with --platform."),
        (("MODULE:none", "--database", "x"), "can't be called without arguments"),
        (("tests.cli.shop:app", "--platform", "MODULE:text"), "is a str, not a platform, such as a TemporalPlatform."),
        (("tests.cli.shop:app", "--platform", "MODULE"), "Platform 'MODULE' is not a place in a module"),
        (("tests.cli.shop:app", "--platform", "nowhere:platform"), "There is no module 'nowhere'"),
        (("MODULE:tailored",), "The Tailor Platform runs jobs itself"),
        (("tests.cli.shop:app", "--platform", "MODULE:tailor"), "The Tailor Platform runs jobs itself"),
    ],
)
def test_what_to_run_must_be_said(
    gqlplugin: Gqlplugin, tmp_path: Path, module: str, options: tuple[str, ...], shown: str
) -> None:
    """What is not said, said twice or can't be meant is a usage error that says how to put it; no file is made."""
    result = gqlplugin("worker", *(option.replace("MODULE", module) for option in options))
    assert (result.code, result.out) == (2, "")
    assert shown.replace("MODULE", module) in result.err
    assert not (tmp_path / "x").exists()


def test_the_environment_names_a_platform(
    gqlplugin: Gqlplugin, tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GQLPLUGIN_PLATFORM names it, an option beats it, and it is not to be named beside GQLPLUGIN_DATABASE."""
    monkeypatch.setenv("GQLPLUGIN_PLATFORM", f"{module}:platform")
    assert isinstance(find_work("tests.cli.shop:app", None, None).platform, TemporalPlatform)
    assert find_work("tests.cli.shop:app", None, "x").place == "in x"
    monkeypatch.setenv("GQLPLUGIN_DATABASE", "x")
    with pytest.raises(UsageError, match="both GQLPLUGIN_PLATFORM and GQLPLUGIN_DATABASE"):
        find_work("tests.cli.shop:app", None, None)


@pytest.mark.parametrize("name", ["asgi", "wrapped", "api", "mounted"])
def test_what_serves_the_app_knows_its_platform(
    gqlplugin: Gqlplugin, module: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """App, platform and schema are those of the endpoint, wrapped or mounted, whatever the environment names."""
    monkeypatch.setenv("GQLPLUGIN_DATABASE", "x")
    work = find_work(f"{module}:{name}", None, None)
    imported = __import__(module)
    assert (work.app, work.platform, work.schema) == (shop.app, imported.platform, imported.schema)


async def started(address: str, queue: str, name: str, arg: str, until: ExecutionStatus) -> WorkflowExecution:
    """Start a run as an API process does, and wait until it has a status."""
    platform = TemporalPlatform(address, task_queue=queue)
    async with asyncio.timeout(PATIENCE_SECONDS), platform:
        with bind(Binding(platform, shop.app)):
            run_id = await platform.start_workflow(name, arg, caller=User())
        return await reached(platform, run_id, until)


async def reached(platform: Platform, run_id: str, until: ExecutionStatus) -> WorkflowExecution:
    runs: AsyncIterator[WorkflowExecution] = platform.watch(run_id)
    async for run in runs:
        if run.status is until:
            break
    return run


async def jobs_of(address: str, queue: str, run_id: str) -> Sequence[JobExecution]:
    async with TemporalPlatform(address, task_queue=queue) as platform:
        return (await platform.get_jobs([run_id]))[run_id]


async def begun(address: str, queue: str, run_id: str, name: str) -> None:
    """Wait until a job is running."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while all(job.stacked_name != name for job in await jobs_of(address, queue, run_id)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


@contextmanager
def temporal_worker(folder: Path, address: str, queue: str, *args: str, **more: str) -> Iterator[Running]:
    with running(folder, "worker", *args, ADDRESS=address, QUEUE=queue, **more) as process:
        yield process


@pytest.mark.parametrize(
    "options", [("MODULE:asgi",), ("-A", "tests.cli.shop:app", "--platform", "MODULE:make_platform")]
)
def test_it_runs_jobs_on_temporal(
    tmp_path: Path, module: str, temporal_address: str, queue: str, options: tuple[str, ...]
) -> None:
    """It says where it works and for which workflows, runs what others start, and drains: what runs may end."""
    args = [option.replace("MODULE", module) for option in options]
    with temporal_worker(tmp_path, temporal_address, queue, *args) as worker:
        line = worker.says("A worker for the jobs of shop on")
        assert f"'{temporal_address}', namespace 'default', task queue '{queue}'" in line
        worker.says("Its workflows: pack-order, place-order")
        worker.says("Ready.")
        ended = asyncio.run(started(temporal_address, queue, "place-order", ORDER, ExecutionStatus.SUCCESS))
        assert ended.output == '{"order_id":"1","charged":5}'
        gate = uuid4().hex
        run = asyncio.run(started(temporal_address, queue, "pack-order", f'"{gate}"', ExecutionStatus.RUNNING))
        assert not (tmp_path / gate).exists()
        asyncio.run(begun(temporal_address, queue, run.id, "pack-order/wait-for-gate"))
        worker.process.send_signal(signal.SIGTERM)
        worker.says("Ending.")
        (tmp_path / gate).touch()
        assert worker.process.wait(PATIENCE_SECONDS) == 0
    jobs = asyncio.run(jobs_of(temporal_address, queue, run.id))
    assert [(job.stacked_name, job.status) for job in jobs][1] == ("pack-order/wait-for-gate", JobStatus.SUCCESS)
    assert "Traceback" not in worker.err
    assert worker.out == ""


def test_it_waits_for_a_service_that_is_not_there(tmp_path: Path, module: str, queue: str) -> None:
    """It says again and again that it can't reach the service, ends at once when told to, and tells no key."""
    address = f"127.0.0.1:{free_port()}"
    with temporal_worker(tmp_path, address, queue, f"{module}:asgi", API_KEY=API_KEY) as worker:
        worker.says(f"The Temporal service at {address} can't be reached yet")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(PATIENCE_SECONDS) == 0
    assert "Ready." not in worker.err
    assert API_KEY not in worker.err
    assert "Traceback" not in worker.err


class Refuse(grpc.GenericRpcHandler):  # type: ignore[misc]  # as grpc has no types
    """What a service answers that does not take the key."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(_: bytes, context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthorized.")

        return grpc.unary_unary_rpc_method_handler(refuse)


def certified() -> tuple[bytes, bytes]:
    """A private key and a certificate of its own for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "of this test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, certificate.public_bytes(Encoding.PEM)


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[str]:
    """The address of a service that refuses every key, over TLS; what to know it by is in `ca.pem`."""
    private, certificate = certified()
    (tmp_path / "ca.pem").write_bytes(certificate)
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        server.add_generic_rpc_handlers([Refuse()])
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(private, certificate)]))
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_a_wrong_key_ends_it(tmp_path: Path, module: str, queue: str, refusing: str) -> None:
    """A service that refuses the credentials is an error that says so, without the key and without a traceback."""
    more = {"ADDRESS": refusing, "QUEUE": queue, "API_KEY": API_KEY, "CA": str(tmp_path / "ca.pem")}
    done = run_command(tmp_path, "worker", f"{module}:asgi", **more)
    assert done.returncode == 1
    assert "Error: The workflow platform refuses the credentials of this server." in done.stderr
    assert API_KEY not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_extra(tmp_path: Path, module: str) -> None:
    """Where temporalio is not installed, the error says what to install."""
    absent = "raise ModuleNotFoundError(\"No module named 'temporalio'\", name='temporalio')"
    (tmp_path / "temporalio.py").write_text(absent)
    done = run_command(tmp_path, "worker", f"{module}:asgi")
    assert done.returncode == 2
    assert "there is no module 'temporalio'." in done.stderr
    assert "pip install 'gqlplugin[temporal]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.anyio
async def test_a_server_runs_no_jobs_where_workers_do() -> None:
    """By default `create_asgi` runs jobs unless the platform has workers for that; it does what it is told."""

    class Separate(MemoryPlatform):
        separate_workers = True
        executed = 0

        @asynccontextmanager
        async def execute(self, definitions: Definitions) -> AsyncIterator[None]:
            self.executed += 1
            async with super().execute(definitions):
                yield

    for execute, times in ((None, 0), (False, 0), (True, 1)):
        platform = Separate()
        async with serve(create_asgi(shop.app, platform, execute=execute)):
            assert platform.executed == times
