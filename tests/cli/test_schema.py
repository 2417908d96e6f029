"""`gqlplugin schema export` and `check`."""

from pathlib import Path

import pytest

from gqlplugin.graphql.schema import create_schema
from tests.cli import shop
from tests.cli.conftest import Gqlplugin
from tests.cli.support import APP

SDL = create_schema(shop.app).as_str()


def test_export(gqlplugin: Gqlplugin, tmp_path: Path) -> None:
    """The SDL goes to stdout, or to a file with -o, the same in both."""
    assert gqlplugin("schema", "export", *APP).out == f"{SDL}\n"
    written = gqlplugin("schema", "export", "-o", "new.graphql", *APP)
    assert (written.code, written.out) == (0, "")
    assert (tmp_path / "new.graphql").read_text() == f"{SDL}\n"
    nowhere = gqlplugin("schema", "export", "-o", "no/where.graphql", *APP)
    assert nowhere.code == 1
    assert "can't be written to 'no/where.graphql'" in nowhere.err


@pytest.mark.parametrize(
    ("old", "code", "shown"),
    [
        (SDL, 0, []),
        (SDL.replace("(item: String!)", "(item: String!, gift: Boolean)"), 1, ["BREAKING   Argument"]),
        (SDL.replace("(item: String!)", ""), 1, ["BREAKING   A required argument"]),
        (SDL.replace("Status {\n  PENDING\n", "Status {\n"), 0, ["DANGEROUS  "]),
    ],
)
def test_check(gqlplugin: Gqlplugin, tmp_path: Path, old: str, code: int, shown: list[str]) -> None:
    """What breaks clients is listed and exits with 1; what is dangerous is listed and does not."""
    (tmp_path / "old.graphql").write_text(old)
    result = gqlplugin("schema", "check", "old.graphql", *APP)
    assert result.code == code
    assert len(result.out.splitlines()) == len(shown)
    assert all(start in result.out for start in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, "can't be read: No such file or directory."),
        ("type Query {", "is not SDL in line 1: Syntax Error: Expected Name, found <EOF>."),
        ("type Query { a: Nothing }", "is not valid: Unknown type 'Nothing'."),
    ],
)
def test_an_old_schema_that_is_none(gqlplugin: Gqlplugin, tmp_path: Path, text: str | None, shown: str) -> None:
    """A file that isn't there, or isn't SDL, is said to be none."""
    if text is not None:
        (tmp_path / "old.graphql").write_text(text)
    result = gqlplugin("schema", "check", "old.graphql", *APP)
    assert (result.code, result.out) == (1, "")
    assert shown in result.err


def test_export_needs_an_application(gqlplugin: Gqlplugin) -> None:
    """Without an application the usage error says how to name one."""
    result = gqlplugin("schema", "export")
    assert result.code == 2
    assert "-A module:app" in result.err
