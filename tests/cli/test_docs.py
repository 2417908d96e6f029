"""The page about the command line says what `--json` prints."""

import json
import re
from pathlib import Path

import pytest

from gqlplugin.cli import output
from gqlplugin.cli.output import Shape

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
SHOWN = dict(re.findall(r"^```json (\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown_is_the_shape(name: str) -> None:
    """Each value that the page shows has the fields of its shape, in their order or another, and no others."""
    shape: type[Shape] = getattr(output, name)
    shown = json.loads(SHOWN[name])
    assert json.loads(shape.model_validate(shown).model_dump_json(by_alias=True)) == shown


def test_every_shape_is_shown() -> None:
    """None is left out: those within others are shown there."""
    within = {"Shape", "ErrorShape", "JobShape"}
    every = {name for name, one in vars(output).items() if isinstance(one, type) and issubclass(one, Shape)}
    assert every - within == SHOWN.keys()
