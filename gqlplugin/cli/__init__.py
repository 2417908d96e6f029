"""The command line. `pip install gqlplugin[cli]` brings what it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code.

    Args:
        args: What was typed after the program's name; by default what this process was started with.
    """
    try:
        from gqlplugin.cli.program import run  # noqa: PLC0415 - typer and rich may not be installed
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("rich", "typer"):
            raise
        sys.stderr.write("Error: The command line needs typer and rich: pip install 'gqlplugin[cli]'.\n")
        return 1
    return run(sys.argv[1:] if args is None else args)
