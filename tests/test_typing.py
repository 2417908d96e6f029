"""What editors tell: mypy and pyright agree on which uses are right and which are wrong."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests/typing"
RIGHT, WRONG = sorted(FOLDER.glob("right*.py")), sorted(FOLDER.glob("wrong*.py"))
FILES = [str(file) for file in (*RIGHT, *WRONG)]


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def mypy() -> set[tuple[str, int]]:
    output = run("mypy", "--strict", "--show-absolute-path", *FILES)
    found = re.findall(r"^(.+?):(\d+): error:", output, re.MULTILINE)
    return {(file, int(line)) for file, line in found if file in FILES}


def pyright() -> set[tuple[str, int]]:
    report = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, *FILES))
    assert report["summary"]["filesAnalyzed"] == len(FILES) > 2
    return {
        (item["file"], item["range"]["start"]["line"] + 1)
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    }


@pytest.mark.slow
@pytest.mark.parametrize(("checker", "mark"), [(mypy, "# error(:| in mypy:)"), (pyright, "# error:")])
def test_each_wrong_line_and_no_other_is_an_editor_error(
    checker: Callable[[], set[tuple[str, int]]], mark: str
) -> None:
    """A wrong model, return type, trigger argument or machine user is an error in the editor; right uses are not."""
    expected = {
        (str(file), number)
        for file in WRONG
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if re.search(mark, line)
    }
    assert checker() == expected
