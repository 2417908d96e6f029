"""The command as a whole: help, version, suggestions, errors, streams."""

import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from gqlplugin.cli import main
from tests.cli.conftest import Gqlplugin
from tests.cli.support import APP, ORDER, ROOT, command, environment, run_command

COMMANDS = [
    (),
    ("workflow",),
    ("workflow", "list"),
    ("workflow", "get"),
    ("workflow", "start"),
    ("workflow", "executions"),
    ("workflow", "resume"),
    ("executor",),
    ("executor", "list"),
    ("executor", "get"),
    ("executor", "jobs"),
    ("executor", "trigger"),
    ("machineuser",),
    ("machineuser", "list"),
    ("schema",),
    ("schema", "export"),
    ("schema", "check"),
    ("serve",),
    ("worker",),
    ("serve-platform",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help(gqlplugin: Gqlplugin, words: tuple[str, ...]) -> None:
    """Every command has a help, under -h as under --help, which ends with 0."""
    short, long = gqlplugin(*words, "-h"), gqlplugin(*words, "--help")
    assert short == long
    assert short.code == 0
    assert " ".join(("Usage: gqlplugin", *words)) in short.out


def test_version(gqlplugin: Gqlplugin) -> None:
    """--version prints the version of the distribution."""
    result = gqlplugin("--version")
    assert (result.code, result.out) == (0, f"gqlplugin {version('gqlplugin')}\n")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("workflw",), "'workflow'"),
        (("workflow", "strat"), "'start'"),
        (("schema", "chekc"), "'check'"),
        (("workflow", "start", "--machine-user"), "--machineuser"),
    ],
)
def test_a_misspelt_word_is_corrected(gqlplugin: Gqlplugin, words: tuple[str, ...], meant: str) -> None:
    """An unknown command or option exits with 2, and is answered with the one that was meant."""
    result = gqlplugin(*words)
    assert (result.code, result.out) == (2, "")
    assert meant in result.err.splitlines()[-1]
    assert "--help' for help." in result.err


def test_nothing_typed_shows_the_help(gqlplugin: Gqlplugin) -> None:
    """The command alone lists its commands, and is a usage error."""
    result = gqlplugin()
    assert result.code == 2
    assert "serve-platform" in result.out + result.err


def test_completion_script(tmp_path: Path) -> None:
    """Shell completion can be shown and answers for the commands."""
    answer = run_command(
        tmp_path, _GQLPLUGIN_COMPLETE="complete_bash", COMP_WORDS="gqlplugin workflow st", COMP_CWORD="2"
    )
    assert answer.stdout.split() == ["start"]


def test_an_unexpected_error_is_one_line(gqlplugin: Gqlplugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error nobody foresaw shows its type and text, and its traceback only with --debug."""

    def broken(_: object) -> None:
        raise RuntimeError("out of paper\x1b[31m")

    monkeypatch.setattr("gqlplugin.cli.workflow._workflows", broken)
    result = gqlplugin("workflow", "list", *APP)
    assert (result.code, result.out) == (1, "")
    assert result.err.splitlines()[0] == r"Error: RuntimeError: out of paper\x1b[31m"
    assert "Traceback" not in result.err
    debugged = gqlplugin("--debug", "workflow", "list", *APP)
    assert "Traceback (most recent call last):" in debugged.err
    assert "\x1b" not in debugged.err


def test_an_error_of_the_platform_tells_operators_why(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """A file that is no journal is said to be none, with exit code 1 and no traceback."""
    (tmp_path / "note.txt").write_text("This is not a database, and it is longer than a header of one would be. " * 9)
    result = gqlplugin("workflow", "executions", "--database", "note.txt")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: note.txt can't be used as a journal")
    assert "Traceback" not in result.err


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """A pipe that is closed early ends the command without a word."""
    many = "import os; from tests.cli import shop; app = shop.app"
    (tmp_path / "mine.py").write_text(many)
    process = subprocess.Popen(
        command("schema", "export", "-A", "mine:app"),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert err == b""


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_no_colours_in_a_pipe(tmp_path: Path, variables: dict[str, str]) -> None:
    """What is piped has no escape sequences, errors and help neither."""
    for words in (("workflow", "list", *APP), ("workflow", "lst")):
        result = run_command(tmp_path, *words, **variables)
        assert "\x1b" not in result.stdout + result.stderr


def test_an_encoding_that_lacks_a_character(gqlplugin: Gqlplugin, local: tuple[str, ...], tmp_path: Path) -> None:
    """An ASCII stream gets an escape for what it can't hold, not an error."""
    run_id = gqlplugin("workflow", "start", "place-order", "-a", ORDER, "-W", "-q", *local).out.strip()
    result = run_command(tmp_path, "workflow", "executions", run_id, *local, PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert r"\u2514\u2500 look-up-price" in result.stdout


def test_without_typer_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The console script of an installation without the extra says which one brings it."""
    for name in [name for name in sys.modules if name.startswith("gqlplugin.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "typer", None)
    assert main(["--version"]) == 1
    assert capsys.readouterr().err == ("Error: The command line needs typer and rich: pip install 'gqlplugin[cli]'.\n")


@pytest.mark.parametrize(
    ("words", "module", "extra"),
    [
        (("serve", "tests.cli.shop:app", "--database", "x"), "uvicorn", "server"),
        (("serve-platform", "tests.cli.shop:app", "--database", "x"), "hypercorn", "tailor-server"),
        (("workflow", "list", "--platform-url", "http://127.0.0.1:1"), "stamina", "tailor"),
    ],
)
def test_a_missing_extra_is_named(tmp_path: Path, words: tuple[str, ...], module: str, extra: str) -> None:
    """A command whose libraries are not installed says which extra brings them."""
    hide = f"import sys; sys.modules[{module!r}] = None; from gqlplugin.cli import main; sys.exit(main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", hide, *words],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert f"needs {module}" in result.stderr
    assert f"pip install 'gqlplugin[{extra}]'" in result.stderr
    assert not (tmp_path / "x").exists()


def test_the_help_is_quick_to_show() -> None:
    """Nothing that only some commands need is loaded for the others."""
    heavy = ("uvicorn", "hypercorn", "connectrpc", "gqlplugin.platform.tailor", "gqlplugin.graphql.schema")
    code = f"import sys; import gqlplugin.cli.program; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_entry_point_can_be_called_again() -> None:
    """The console script of the distribution is a function, also once the command line has been loaded."""
    [script] = entry_points(group="console_scripts", name="gqlplugin")
    assert script.load()(["--version"]) == 0
    assert script.load()(["--version"]) == 0
