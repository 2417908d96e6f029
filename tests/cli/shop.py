"""The application that the tests of the command line use. `SHOP_GATES` is a folder where files open gates."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from gqlplugin.app import App, define_app
from gqlplugin.auth import define_auth
from gqlplugin.errors import JobFailedError
from gqlplugin.identity import AuthInvoker, User
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ConcurrencyPolicy
from gqlplugin.wait_point import define_wait_point
from gqlplugin.workflow import create_workflow

GATES = Path(os.environ.get("SHOP_GATES", "."))
NASTY = "\x1b[31mred\x1b]0;owned\x07 [bold]not markup[/bold] \u202egnp"


class Order(BaseModel):
    order_id: str
    total: int


class Receipt(BaseModel):
    order_id: str
    charged: int


class Request(BaseModel):
    customer: str
    total: int


class Decision(BaseModel):
    approved: bool
    note: str = ""


class PlaceOrder(BaseModel):
    item: str


approval = define_wait_point("approval", payload=Request, result=Decision)


async def opened(gate: str) -> None:
    """Wait until somebody has made a file."""
    while not (GATES / gate).exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)


@create_workflow_job(name="look-up-price")
async def look_up_price(input: Order, ctx: JobContext) -> int:
    ctx.log.info("looking up %s", input.order_id)
    return input.total


@create_workflow_job(name="charge-card")
async def charge_card(input: Order, ctx: JobContext) -> int:
    ctx.log.info("charging")
    return await look_up_price.trigger(input)


@create_workflow_job(name="place-order")
async def place_order(input: Order, ctx: JobContext) -> Receipt:
    ctx.log.info("order %s", input.order_id)
    charged = await charge_card.trigger(input)
    return Receipt(order_id=input.order_id, charged=charged)


@create_workflow_job(name="print-label")
async def print_label(input: None, ctx: JobContext) -> str:
    ctx.log.warning(NASTY)
    if not (GATES / "printer").exists():
        raise JobFailedError(f"The printer is off. {NASTY}", code="PRINTER_OFF")
    return "printed"


@create_workflow_job(name="ship-order")
async def ship_order() -> str:
    return await print_label.trigger()


@create_workflow_job(name="wait-for-gate")
async def wait_for_gate(input: str, ctx: JobContext) -> str:
    ctx.progress(0.4, "at the gate")
    await opened(input)
    return input


@create_workflow_job(name="pack-order")
async def pack_order(input: str) -> str:
    return await wait_for_gate.trigger(input)


@create_workflow_job(name="sign-order")
async def sign_order(input: Order, ctx: JobContext) -> str:
    ctx.log.info("asking for a signature")
    decision = await approval.wait(Request(customer=NASTY, total=input.total), timeout=timedelta(hours=2))
    return decision.note or str(decision.approved)


def _is_clerk(user: User, invoker: AuthInvoker | None) -> bool:
    return invoker is not None and invoker.machine_user_name == "clerk"


@create_resolver(name="placeOrder", operation="mutation")
async def place(ctx: ResolverContext[PlaceOrder]) -> str:
    return ctx.input.item


auth = define_auth("shop-auth", Literal["clerk", "robot"], attributes={"clerk": {"role": "CLERK"}})
app = define_app(
    "shop",
    auth=auth,
    workflows=[
        create_workflow(name="place-order", main_job=place_order),
        create_workflow(name="ship-order", main_job=ship_order),
        create_workflow(name="pack-order", main_job=pack_order),
        create_workflow(
            name="queue-order",
            main_job=wait_for_gate,
            concurrency_policy=ConcurrencyPolicy(max_concurrent_executions=1),
        ),
        create_workflow(name="sign-order", main_job=sign_order),
        create_workflow(name="refund-order", main_job=look_up_price, permission=_is_clerk),
    ],
    resolvers=[place],
)


def make_app() -> App:
    return app


def needs_more(name: str) -> App:
    return app
