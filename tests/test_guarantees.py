"""docs/guarantees.md names the tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_names_every_test_that_chance_decides() -> None:
    """Each test that it names is there, and each one whose rounds can be multiplied is named."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "docs/guarantees.md").read_text()))
    assert {path for path in named if not (ROOT / path).exists()} == set()
    repeated = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"^from tests.rounds import rounds$", path.read_text(), re.MULTILINE)
    }
    assert repeated <= named
