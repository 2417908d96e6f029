"""`schema.graphql` is the schema of the shop; a change of it is seen in review, and so is whom it breaks."""

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
