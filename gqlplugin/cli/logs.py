"""What the parts that a command uses log."""

from __future__ import annotations

import logging

from gqlplugin.cli.text import safe_lines

LOGGERS = ("gqlplugin", "hypercorn", "stamina", "temporalio")
"""The loggers of what a command uses."""


class SafeFormatter(logging.Formatter):
    """Writes what is logged, by jobs too, in a form that a terminal does not act on."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record."""
        return "\n".join(safe_lines(super().format(record)))


def log_nothing() -> None:
    """Leave it to the command to say what went wrong; Python would write warnings to stderr as well."""
    for name in LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write what is logged to stderr; of the parts that serve, only warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(asctime)s  %(levelname)-7s  %(message)s", "%H:%M:%S"))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level if name == "gqlplugin" else logging.WARNING)
