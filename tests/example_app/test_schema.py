"""`schema.graphql` is the schema of the shop; a change of it is seen in review, and so is whom it breaks."""

import os
import subprocess
import sys
from pathlib import Path

from graphql import build_schema
from graphql.utilities import find_breaking_changes

from example_app.app import schema
from example_app.print_schema import FILE


def test_the_file_is_the_schema() -> None:
    """It fails when they differ, and says whether the change breaks clients and how to write the file anew."""
    written, current = FILE.read_text(), f"{schema.as_str()}\n"
    if written != current:
        breaking = find_breaking_changes(build_schema(written), build_schema(current))
        whom = "\n".join(f"BREAKS CLIENTS: {change.description}" for change in breaking) or "It breaks no clients."
        raise AssertionError(f"schema.graphql is not the schema of the shop: run `make schema`.\n{whom}")


def test_nothing_is_made_where_only_the_schema_is_wanted(tmp_path: Path) -> None:
    """Exporting the schema of the shop opens no database and leaves no file."""
    done = subprocess.run(
        [sys.executable, "-m", "gqlplugin.cli", "schema", "export", "-A", "example_app.app:app"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(FILE.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == FILE.read_text().strip()
    assert list(tmp_path.iterdir()) == []
