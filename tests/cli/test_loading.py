"""What `-A module:app` finds, and what it says when it finds none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Gqlplugin

MODULE = """
from gqlplugin import define_app
from tests.cli.shop import app, make_app, needs_more

class Nested:
    app = app

text = "not an app"

def fails():
    raise ValueError("no shop today\\nsecond line")

def wrong():
    return 7
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> Iterator[None]:
    """A module in the current directory; what a test imports is forgotten after it."""
    (tmp_path / "mine.py").write_text(MODULE)
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize("spec", ["mine:app", "mine:make_app", "mine:Nested.app", "tests.cli.shop:app"])
def test_what_an_application_can_be(gqlplugin: Gqlplugin, spec: str) -> None:
    """An App, a callable that makes one, or an attribute of an attribute, from the current directory or from others."""
    result = gqlplugin("workflow", "list", "-A", spec)
    assert result.code == 0
    assert "place-order" in result.out


def test_the_environment_names_it_too(gqlplugin: Gqlplugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """GQLPLUGIN_APPLICATION names the application, and -A beats it."""
    monkeypatch.setenv("GQLPLUGIN_APPLICATION", "mine:app")
    assert gqlplugin("workflow", "list").code == 0
    monkeypatch.setenv("GQLPLUGIN_APPLICATION", "x:y")
    assert gqlplugin("workflow", "list").code == 2
    assert gqlplugin("workflow", "list", "-A", "mine:app").code == 0


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("mine", "Application 'mine' is not a place in a module: write module:attribute, such as shop.main:app."),
        ("mine:", "is not a place in a module"),
        ("mine:app()", "is not a place in a module"),
        ("nowhere:app", "There is no module 'nowhere'. Modules are looked for in the current directory"),
        ("nowhere.main:app", "There is no module 'nowhere'"),
        ("mine:shop", "Module 'mine' has no 'shop'. It has: mine:app."),
        ("mine:text", "'mine:text' is a str, not an App"),
        ("mine:wrong", "'mine:wrong' makes a int, not an App"),
        ("mine:needs_more", "can't be called without arguments (missing a required argument: 'name')"),
        ("mine:fails", "mine.py, line 11): ValueError: no shop today\n  second line"),
        ("broken:app", "broken.py, line 1): ZeroDivisionError: division by zero"),
        ("syntax:app", "SyntaxError: "),
        ("needs:app", "needs.py, line 1): ModuleNotFoundError: No module named 'not_installed'"),
        ("leaves:app", "leaves.py, line 1): SystemExit: 0"),
        ("bad:app", "the app needs a name"),
    ],
)
def test_an_application_that_is_none(gqlplugin: Gqlplugin, tmp_path: Path, spec: str, shown: str) -> None:
    """What is wrong with the module, the attribute or the value is said without a traceback; the exit code is 2."""
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "syntax.py").write_text("def")
    (tmp_path / "needs.py").write_text("import not_installed")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
    (tmp_path / "bad.py").write_text("from gqlplugin import define_app\napp = define_app('')")
    result = gqlplugin("workflow", "list", "-A", spec)
    assert (result.code, result.out) == (2, "")
    assert shown in result.err
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(gqlplugin: Gqlplugin) -> None:
    """With --debug the module's own traceback is shown."""
    result = gqlplugin("--debug", "workflow", "list", "-A", "mine:fails")
    assert result.code == 2
    assert 'raise ValueError("no shop today' in result.err


def test_a_module_that_prints_does_not_spoil_the_output(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """What a module prints while it is imported goes to stderr."""
    (tmp_path / "loud.py").write_text("print('hello')\nfrom tests.cli.shop import app")
    result = gqlplugin("workflow", "list", "--json", "-A", "loud:app")
    assert result.out.startswith("[")
    assert "hello" in result.err
