"""The ecosystem's own clients against the served example shop. What they install goes below `build/clients`."""

import filecmp
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from example_app.demo import interrupt
from tests.clients.processes import BUILD, NPM, run, served_shop

pytestmark = pytest.mark.clients

SOURCE = Path(__file__).parent
NODE = BUILD / "node"
PYTHON = BUILD / "python"
PAID = "Alice Archer pays 4.50"
RUN_SNIPPET = (
    "import { processOrder } from './dist/process-order.js';"
    "console.log(await processOrder(process.env.SHOP_ENDPOINT, 'demo-alice'));"
)


@pytest.fixture(scope="module", autouse=True)
def ended_with_us() -> Iterator[None]:
    """Whoever ends the tests ends what they have started."""
    previous = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.fixture(scope="module")
def node() -> Path:
    """A directory with the packages of npm, and the scripts and snippets that use them."""
    for part in ("javascript", "typescript"):
        shutil.rmtree(NODE / part, ignore_errors=True)
        shutil.copytree(SOURCE / part, NODE / part)
    if not _is_installed("package-lock.json", NODE):
        for name in ("package.json", ".npmrc"):
            shutil.copy(SOURCE / name, NODE)
        shutil.copy(SOURCE / "package-lock.json", NODE / "package-lock.json")
        run("node", NPM, "ci", within=900, cwd=NODE)
        _mark_installed("package-lock.json", NODE)
    return NODE


@pytest.fixture(scope="module")
def python() -> Path:
    """A directory with a virtual environment that has ariadne-codegen, and the snippet."""
    PYTHON.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(PYTHON / "shop_client", ignore_errors=True)
    shutil.copytree(SOURCE / "python", PYTHON, dirs_exist_ok=True)
    if not _is_installed("python/requirements.txt", PYTHON):
        run(sys.executable, "-m", "venv", "--clear", ".venv", within=120, cwd=PYTHON)
        pip = (".venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--requirement", "requirements.txt", within=600, cwd=PYTHON)
        _mark_installed("python/requirements.txt", PYTHON)
    return PYTHON


def _is_installed(pins: str, directory: Path) -> bool:
    stamp = directory / ".installed"
    return stamp.exists() and filecmp.cmp(SOURCE / pins, stamp, shallow=False)


def _mark_installed(pins: str, directory: Path) -> None:
    shutil.copy(SOURCE / pins, directory / ".installed")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The shop, whose jobs take a while, so that there is something to follow."""
    with served_shop(tmp_path_factory.mktemp("shop"), pace=0.5) as endpoint:
        yield endpoint


@pytest.mark.parametrize("client", ["graphql-ws", "graphql-sse"])
def test_a_run_is_followed_without_gap_or_repeat(client: str, node: Path, endpoint: str) -> None:
    """To its end, also when the connection is cut after every message and the client comes back with its cursor."""
    assert "updates over" in run("node", f"javascript/{client}.mjs", within=120, cwd=node, environment=at(endpoint))


def test_every_audit_of_graphql_over_http_passes(node: Path, endpoint: str) -> None:
    """What the specification demands, recommends and allows, of a server in the development profile."""
    assert "audits passed" in run("node", "javascript/audits.mjs", within=120, cwd=node, environment=at(endpoint))


def test_generated_typescript_reads_the_typed_output(node: Path, endpoint: str) -> None:
    """The client preset and `tsc --strict` take the snippet, and it runs; they refuse it with a wrong field."""
    directory = node / "typescript"
    generate(directory, endpoint)
    run("../node_modules/.bin/tsc", within=120, cwd=directory)
    printed = run("node", "--input-type=module", "-e", RUN_SNIPPET, within=60, cwd=directory, environment=at(endpoint))
    assert PAID in printed

    snippet = directory / "src/process-order.ts"
    good = snippet.read_text()
    snippet.write_text(good.replace("output.totalCents", "output.totalEuros"))
    with pytest.raises(pytest.fail.Exception, match="'totalEuros' does not exist"):
        run("../node_modules/.bin/tsc", within=120, cwd=directory)
    snippet.write_text(good.replace('customerId: "alice", item', "customerId: 3, item"))
    with pytest.raises(pytest.fail.Exception, match="'number' is not assignable to type 'string'"):
        run("../node_modules/.bin/tsc", within=120, cwd=directory)
    snippet.write_text(good.replace("orderId totalCents", "orderId totalEuros"))
    with pytest.raises(pytest.fail.Exception, match="totalEuros"):
        generate(directory, endpoint)


def generate(directory: Path, endpoint: str) -> None:
    """Make types of the operations in the snippet."""
    run("../node_modules/.bin/graphql-codegen", within=120, cwd=directory, environment=at(endpoint))


def test_a_generated_python_client_reads_the_typed_output(python: Path, endpoint: str) -> None:
    """What ariadne-codegen makes takes the snippet through `mypy --strict`, and runs it."""
    run(".venv/bin/ariadne-codegen", "--config", "ariadne.toml", within=120, cwd=python, environment=at(endpoint))
    # what is generated is not strict itself
    options = ("--strict", "--follow-imports=silent", "--config-file=", "--python-executable", ".venv/bin/python")
    mypy = (sys.executable, "-m", "mypy", *options)
    run(*mypy, "process_order.py", within=300, cwd=python)
    printed = run(".venv/bin/python", "process_order.py", within=60, cwd=python, environment=at(endpoint))
    assert PAID in printed

    wrong = (python / "process_order.py").read_text().replace("output.total_cents", "output.total_euros")
    (python / "wrong.py").write_text(wrong)
    with pytest.raises(pytest.fail.Exception, match='has no attribute "total_euros"'):
        run(*mypy, "wrong.py", within=300, cwd=python)


def at(endpoint: str) -> dict[str, str]:
    """What tells a client where the shop is, without a proxy in between."""
    return {"SHOP_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
