"""Writes the schema of the shop to `schema.graphql`: `python -m example_app.print_schema`."""

from pathlib import Path

from example_app.app import schema

FILE = Path(__file__).parent.parent / "schema.graphql"

if __name__ == "__main__":
    FILE.write_text(f"{schema.as_str()}\n")
