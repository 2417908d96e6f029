"""What the shop is told from outside."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the shop keeps things, and how fast it works.

    Attributes:
        database: The file with the workflow runs. The shop's own data lies beside it.
        pace: Seconds that each job takes longer than it needs, so that one can watch it.
    """

    database: Path = Path("shop.sqlite")
    pace: float = 0.0

    @property
    def data(self) -> Path:
        """The file with customers, orders and notifications."""
        return self.database.with_name(f"{self.database.stem}-data.sqlite")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read `SHOP_DATABASE` and `SHOP_PACE`."""
        return cls(
            database=Path(environment.get("SHOP_DATABASE", "shop.sqlite")),
            pace=float(environment.get("SHOP_PACE", "0")),
        )


def tune_garbage_collection() -> None:
    """Let the garbage collector look at less, and less often: call it last before serving.

    What is loaded by then stays, and a request leaves so many short-lived objects that the default of a collection
    every 700 of them takes several per cent of the CPU.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
