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
    """Where the shop keeps things, how fast it works, and whom it tells.

    Attributes:
        database: The file with the workflow runs. The shop's own data lies beside it.
        pace: Seconds that each job takes longer than it needs, so that one can watch it.
        approval_from_cents: From which total on an order waits for a manager.
        partner_url: Where a partner is told of processed orders; None tells nobody.
        partner_networks: Networks that may be reached for that although they are not public, such as "10.1.0.0/16".
    """

    database: Path = Path("shop.sqlite")
    pace: float = 0.0
    approval_from_cents: int = 50_000
    partner_url: str | None = None
    partner_networks: tuple[str, ...] = ()

    @property
    def data(self) -> Path:
        """The file with customers, orders and notifications."""
        return self.database.with_name(f"{self.database.stem}-data.sqlite")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the environment.

        The variables are `SHOP_DATABASE`, `SHOP_PACE`, `SHOP_APPROVAL_FROM_CENTS`, `SHOP_PARTNER_URL` and
        `SHOP_PARTNER_NETWORKS`, which has commas.
        """
        return cls(
            database=Path(environment.get("SHOP_DATABASE", "shop.sqlite")),
            pace=float(environment.get("SHOP_PACE", "0")),
            approval_from_cents=int(environment.get("SHOP_APPROVAL_FROM_CENTS", "50000")),
            partner_url=environment.get("SHOP_PARTNER_URL") or None,
            partner_networks=tuple(filter(None, environment.get("SHOP_PARTNER_NETWORKS", "").split(","))),
        )


def tune_garbage_collection() -> None:
    """Let the garbage collector look at less, and less often: call it last before serving.

    What is loaded by then stays, and a request leaves so many short-lived objects that the default of a collection
    every 700 of them takes several per cent of the CPU.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
