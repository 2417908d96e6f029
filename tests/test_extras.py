"""Installations without an extra: what is missing is named, and the rest works."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def without(module: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run a line where a module is not installed."""
    hide = f"import sys; sys.modules[{module!r}] = None\n{code}"
    return subprocess.run([sys.executable, "-c", hide], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "package", "extra", "code"),
    [
        ("temporalio", "temporalio", "temporal", "from gqlplugin.platform.temporal import TemporalPlatform"),
        ("stamina", "stamina", "tailor", "from gqlplugin.platform.tailor import TailorPlatform"),
        ("yaml", "pyyaml", "tailor", "from gqlplugin.platform.tailor import TailorPlatform"),
        ("pydantic_settings", "pydantic-settings", "tailor", "from gqlplugin.platform.tailor import TailorPlatform"),
        ("connectrpc", "connectrpc", "tailor-server", "from gqlplugin.platform.tailor.server import create_server"),
        ("google.protobuf", "protobuf", "tailor-server", "from gqlplugin.platform.tailor.server import create_server"),
        ("jwt", "pyjwt", "jwt", "from gqlplugin import JWTAuthenticator"),
        ("jwt", "pyjwt", "jwt", "import gqlplugin; gqlplugin.RunTokens"),
        ("cryptography", "cryptography", "jwt", "import gqlplugin; gqlplugin.JWTAuthenticator"),
        ("sqlalchemy", "sqlalchemy", "sqlalchemy", "from gqlplugin import get_db"),
        (
            "aiosqlite",
            "aiosqlite",
            "sqlalchemy",
            "import gqlplugin; gqlplugin.define_database('main', 'sqlite+aiosqlite:///x')",
        ),
    ],
)
def test_an_import_says_what_to_install(module: str, package: str, extra: str, code: str) -> None:
    """The last line of the traceback names the distribution and the extra."""
    done = without(module, code)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f" {package}: pip install 'gqlplugin[{extra}]'" in last


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("jwt", {"JWTAuthenticator", "RunTokens"}),
        ("cryptography", {"JWTAuthenticator"}),
        ("sqlalchemy", {"Database", "define_database", "get_db", "publish"}),
        ("temporalio", set()),
        ("opentelemetry", set()),
    ],
)
def test_a_star_import_takes_what_there_is(module: str, absent: set[str]) -> None:
    """All names but those that need what is not installed."""
    code = "from gqlplugin import *; import gqlplugin; print(*set(gqlplugin._NAMES) - set(dir()))"
    done = without(module, code)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == absent


def test_a_star_import_takes_all() -> None:
    """Where everything is installed, no name is left out."""
    done = without("nothing", "from gqlplugin import *; import gqlplugin; assert set(gqlplugin._NAMES) <= set(dir())")
    assert done.returncode == 0, done.stderr
