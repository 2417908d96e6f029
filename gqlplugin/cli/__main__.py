"""The same as the `gqlplugin` command: `python -m gqlplugin.cli`."""

from __future__ import annotations

import sys

from gqlplugin.cli import main

if __name__ == "__main__":
    sys.exit(main())
