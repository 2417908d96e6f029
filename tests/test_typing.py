"""What editors tell: mypy and pyright agree on which uses are right and which are wrong."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RIGHT, WRONG = ROOT / "tests/typing/right.py", ROOT / "tests/typing/wrong.py"


def run(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def mypy() -> set[tuple[str, int]]:
    output = run("mypy", "--strict", "--show-absolute-path", str(RIGHT), str(WRONG))
    found = re.findall(r"^(.+?):(\d+): error:", output, re.MULTILINE)
    return {(file, int(line)) for file, line in found if Path(file) in (RIGHT, WRONG)}


def pyright() -> set[tuple[str, int]]:
    report = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, str(RIGHT), str(WRONG)))
    assert report["summary"]["filesAnalyzed"] == 2
    return {
        (item["file"], item["range"]["start"]["line"] + 1)
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    }


@pytest.mark.parametrize(("checker", "mark"), [(mypy, "# error(:| in mypy:)"), (pyright, "# error:")])
def test_each_wrong_line_and_no_other_is_an_editor_error(
    checker: Callable[[], set[tuple[str, int]]], mark: str
) -> None:
    """A wrong model, return type, trigger argument or machine user is an error in the editor; right uses are not."""
    lines = WRONG.read_text().splitlines()
    expected = {(str(WRONG), number) for number, line in enumerate(lines, 1) if re.search(mark, line)}
    assert checker() == expected
