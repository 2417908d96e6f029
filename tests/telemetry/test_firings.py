"""Executors' firings are runs, and in the trace of what fired them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from standardwebhooks import Webhook

from gqlplugin.app import define_app
from gqlplugin.asgi import create_asgi
from gqlplugin.database import define_database, get_db
from gqlplugin.executor import (
    create_executor,
    function_operation,
    graphql_operation,
    incoming_webhook_trigger,
    record_created_trigger,
    resolver_executed_trigger,
    schedule_trigger,
    workflow_operation,
)
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.runs import ExecutionFilter
from gqlplugin.secret import secret
from gqlplugin.testing import MemoryPlatform, serve
from gqlplugin.workflow import create_workflow
from tests.contract.support import until
from tests.telemetry.support import Spans, Tree, attributes_of, trace_of

pytestmark = pytest.mark.anyio

KEY = "whsec_" + base64.b64encode(b"a key of 24 bytes or so!").decode()


class Base(DeclarativeBase):
    pass


class OrderRow(Base):
    __tablename__ = "traced_order"

    id: Mapped[str] = mapped_column(primary_key=True)


class Order(BaseModel):
    order_id: str


class Done(BaseModel):
    order_id: str
    run_id: str = ""


@create_workflow_job(name="traced-job")
async def traced_job(order_id: str) -> str:
    return order_id


traced = create_workflow(name="traced-run", main_job=traced_job)


@create_resolver(name="placeOrder", operation="mutation")
async def place_order(ctx: ResolverContext[Order]) -> Done:
    """Keeps an order, and starts its run with it."""
    session = get_db("orders")
    session.add(OrderRow(id=ctx.input.order_id))
    return Done(order_id=ctx.input.order_id, run_id=await traced.trigger(ctx.input.order_id, session=session))


@create_resolver(name="noteOrder", operation="mutation")
async def note_order(ctx: ResolverContext[Order]) -> Done:
    return Done(order_id=ctx.input.order_id)


def nothing(args: Any) -> None:
    del args


on_record = create_executor(
    "on-record",
    trigger=record_created_trigger(OrderRow),
    operation=workflow_operation(traced, args=lambda args: args.new_record.id),
)
on_resolver = create_executor(
    "on-resolver",
    trigger=resolver_executed_trigger(place_order),
    operation=graphql_operation(
        "mutation Note($orderId: String!) { noteOrder(orderId: $orderId) { orderId } }",
        variables=lambda args: {"orderId": args.result and args.result.order_id},
    ),
)
on_webhook = create_executor(
    "on-webhook",
    trigger=incoming_webhook_trigger(body=Order, signing_secrets=[secret("TRACED_KEY")]),
    operation=function_operation(nothing),
)
on_time = create_executor("on-time", trigger=schedule_trigger("* * * * *"), operation=function_operation(nothing))


async def all_ended(platform: MemoryPlatform, number: int) -> None:
    """Wait until there are so many runs, and each has ended."""

    async def are_there() -> bool:
        page = await platform.list_executions(ExecutionFilter(), first=100)
        return len([run for run in page.executions if run.status.is_final]) == number

    await until(are_there)


async def test_an_operation_and_all_it_leads_to_are_one_trace(spans: Spans, tmp_path: Path) -> None:
    """A start with `session=`, a record's change and a resolver's end go on in the operation's trace."""
    platform, path = MemoryPlatform(), tmp_path / "orders.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    app = define_app(
        "traced",
        workflows=[traced],
        resolvers=[place_order, note_order],
        executors=[on_record, on_resolver],
        databases=[define_database("orders", f"sqlite+aiosqlite:///{path}")],
    )
    async with serve(create_asgi(app, platform)) as client:
        await client.run('mutation Place { placeOrder(orderId: "order-1") { orderId runId } }')
        await all_ended(platform, 4)
    started: Tree = {"run traced-run": {"job traced-job": {}}}
    assert spans.trees() == [
        {
            "mutation": {
                "start traced-run": started,
                "start executor/on-record": {
                    "run executor/on-record": {"job on-record": {"start traced-run": started}}
                },
                "start executor/on-resolver": {"run executor/on-resolver": {"job on-resolver": {"mutation": {}}}},
            }
        }
    ]
    assert "order-1" not in "".join(span.to_json() for span in spans.all)


async def test_a_webhook_begins_a_trace(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery is a start with its firing below it; its sender's headers do not choose the trace."""
    monkeypatch.setenv("TRACED_KEY", KEY)
    platform = MemoryPlatform()
    async with serve(create_asgi(define_app("traced", executors=[on_webhook]), platform)) as client:
        body, now = b'{"order_id": "order-1"}', datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "traceparent": f"00-{7:032x}-{7:016x}-01",
            "webhook-id": "delivery-1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(KEY).sign("delivery-1", now, body.decode()),
        }
        assert (await client.http.post("/webhooks/on-webhook", content=body, headers=headers)).status_code == 204
        await all_ended(platform, 1)
    assert spans.trees() == [{"start executor/on-webhook": {"run executor/on-webhook": {"job on-webhook": {}}}}]
    assert trace_of(spans.one("job on-webhook")) != 7
    assert not any(word in "".join(span.to_json() for span in spans.all) for word in ("order-1", "delivery-1", KEY))


async def test_a_schedule_begins_a_trace(spans: Spans) -> None:
    """Each time that fires is a trace of its own, whatever was current when the process began."""
    platform = MemoryPlatform()
    with spans.tracer.start_as_current_span("startup"):
        async with platform, platform.execute(define_app("traced", executors=[on_time])):
            worker = platform._worker
            assert worker is not None
            later = datetime.now(UTC) + timedelta(minutes=2)
            worker.scheduler.now = lambda: later
            await worker.scheduler.fire_due()
            await all_ended(platform, 1)
    run = spans.one("run executor/on-time")
    assert run.parent is None
    assert attributes_of(run)["gqlplugin.run.status"] == "SUCCESS"
