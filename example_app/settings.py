"""What the shop is told from outside."""

from __future__ import annotations

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
