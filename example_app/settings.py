"""What the shop is told from outside."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class TemporalSettings:
    """Where Temporal is, for a shop whose runs are there.

    Attributes:
        address: Host and port.
        namespace: Where the runs are.
        task_queue: Of the shop.
        tls: Whether to connect by TLS; with a key it is on.
        api_key: Of Temporal Cloud.
        heartbeat_seconds: After which silence a worker counts as dead.
        grace_seconds: How long jobs may go on when their worker is told to stop.
    """

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    task_queue: str = "shop"
    tls: bool = False
    api_key: str | None = field(default=None, repr=False)
    heartbeat_seconds: float = 30.0
    grace_seconds: float = 30.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables whose names begin with `SHOP_TEMPORAL_`."""
        return cls(
            address=environment.get("SHOP_TEMPORAL_ADDRESS") or "127.0.0.1:7233",
            namespace=environment.get("SHOP_TEMPORAL_NAMESPACE") or "default",
            task_queue=environment.get("SHOP_TEMPORAL_TASK_QUEUE") or "shop",
            tls=environment.get("SHOP_TEMPORAL_TLS", "") not in ("", "0"),
            api_key=environment.get("SHOP_TEMPORAL_API_KEY") or None,
            heartbeat_seconds=float(environment.get("SHOP_TEMPORAL_HEARTBEAT_SECONDS", "30")),
            grace_seconds=float(environment.get("SHOP_TEMPORAL_GRACE_SECONDS", "30")),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the shop keeps things, how fast it works, and whom it tells.

    Attributes:
        database: The file with the workflow runs. The shop's own data lies beside it.
        pace: Seconds that each job takes longer than it needs, so that one can watch it.
        approval_from_cents: From which total on an order waits for a manager.
        partner_url: Where a partner is told of processed orders; None tells nobody.
        partner_networks: Networks that may be reached for that although they are not public, such as "10.1.0.0/16".
        temporal: Where the runs are on Temporal; None keeps them in the file.
        data_url: Of a PostgreSQL database for the shop's own data, so that it can be used from several machines.
    """

    database: Path = Path("shop.sqlite")
    pace: float = 0.0
    approval_from_cents: int = 50_000
    partner_url: str | None = None
    partner_networks: tuple[str, ...] = ()
    temporal: TemporalSettings | None = None
    data_url: str | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        """The file with customers, orders and notifications."""
        return self.database.with_name(f"{self.database.stem}-data.sqlite")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the environment.

        The variables are `SHOP_DATABASE`, `SHOP_PACE`, `SHOP_APPROVAL_FROM_CENTS`, `SHOP_PARTNER_URL`,
        `SHOP_PARTNER_NETWORKS`, which has commas, `SHOP_DATA_URL`, and `SHOP_PLATFORM`: "embedded", or "temporal" with
        the variables of `TemporalSettings`.

        Raises:
            ValueError: There is no such platform, or a number is none.
        """
        platform = environment.get("SHOP_PLATFORM") or "embedded"
        if platform not in ("embedded", "temporal"):
            raise ValueError(f"SHOP_PLATFORM is {platform!r}: it must be 'embedded' or 'temporal'.")
        return cls(
            database=Path(environment.get("SHOP_DATABASE", "shop.sqlite")),
            pace=float(environment.get("SHOP_PACE", "0")),
            approval_from_cents=int(environment.get("SHOP_APPROVAL_FROM_CENTS", "50000")),
            partner_url=environment.get("SHOP_PARTNER_URL") or None,
            partner_networks=tuple(filter(None, environment.get("SHOP_PARTNER_NETWORKS", "").split(","))),
            temporal=TemporalSettings.from_environment(environment) if platform == "temporal" else None,
            data_url=environment.get("SHOP_DATA_URL") or None,
        )


def tune_garbage_collection() -> None:
    """Let the garbage collector look at less, and less often: call it last before serving.

    What is loaded by then stays, and a request leaves so many short-lived objects that the default of a collection
    every 700 of them takes several per cent of the CPU.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
