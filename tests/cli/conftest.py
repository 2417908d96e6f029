"""Fixtures for the tests of the command line."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import from_json

from gqlplugin.cli import main
from gqlplugin.cli.output import LOGGERS
from tests.cli import shop
from tests.cli.support import APP, OURS, worker


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return from_json(self.out)


Gqlplugin = Callable[..., Result]


@pytest.fixture
def gqlplugin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Gqlplugin]:
    """Runs the command line in this process, in a folder of its own, with nothing in the environment."""
    for name in os.environ:
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(shop, "GATES", tmp_path)

    def run(*args: str) -> Result:
        capsys.readouterr()
        code = main(args)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    yield run
    for logger in map(logging.getLogger, LOGGERS):
        assert all(isinstance(handler, logging.NullHandler) for handler in logger.handlers), "it logs after its end"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """The options for a file whose jobs are run."""
    path = tmp_path / "shop.sqlite"
    with worker(path):
        yield (*APP, "--database", str(path))
