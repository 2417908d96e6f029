"""What happens in the shop by itself, over HTTP: one executor of each kind, fired end to end."""

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.orm import Session
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from example_app.app import serve_shop
from example_app.database import OrderRow
from example_app.settings import Settings
from gqlplugin.checks import firing_name
from gqlplugin.identity import executor_user
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.testing import GraphQLClient, serve
from tests.example_app.support import ALICE, MANAGER, as_manager, ended, fired, place_order, served, trigger
from tests.loopback import serving

pytestmark = pytest.mark.anyio

CANCEL = "mutation ($order: String!) { cancelOrder(orderId: $order) { id } }"
RECORD = 'mutation { recordActivity(orderId: "order-1", text: "Nothing happened") { orderId } }'
TOKEN = "Bearer a-token-that-only-the-partner-knows"  # noqa: S105 - of a server that lives as long as a test


async def test_a_large_order_is_noted_for_review(client: GraphQLClient) -> None:
    """From 500 EUR on the executor starts a run as the machine user; below, its condition is not met."""
    await place_order(client, cents=49_999)
    (small,) = await fired(client, "order-created")
    assert (small["status"], small["skipped"], small["workflowRunId"]) == ("SUCCESS", True, None)
    large = await place_order(client, cents=50_000)
    firing = (await fired(client, "order-created", times=2))[0]
    assert (firing["status"], firing["skipped"], firing["attempts"]) == ("SUCCESS", False, 1)
    run = await ended(client, firing["workflowRunId"])
    assert (run["__typename"], run["status"]) == ("OrderReviewRun", "SUCCESS")
    data = await client.run("{ reviews { orderId reason } }")
    assert data["reviews"] == [{"orderId": large, "reason": "Tea for 500.00 EUR"}]


async def test_a_cancelled_order_is_gone_and_its_customer_told(client: GraphQLClient) -> None:
    """The executor finds the customer and notifies them, by the jobs that the workflow has too."""
    order = await place_order(client, customer="bob")
    assert (await client.run(CANCEL, {"order": order}))["cancelOrder"] == {"id": order}
    (firing,) = await fired(client, "order-cancelled")
    assert (firing["status"], firing["error"]) == ("SUCCESS", None)
    assert [job["stackedName"].rpartition("/")[2] for job in firing["jobs"][1:]] == [
        "fetch-customer",
        "send-notification",
    ]
    data = await client.run("{ orders { id } notifications { runId recipient message } }")
    told = {"runId": firing["id"], "recipient": "bob@example.com", "message": "Order cancelled: Tea"}
    assert data == {"orders": [], "notifications": [told]}


async def test_only_an_order_that_is_not_processed_can_be_cancelled(client: GraphQLClient) -> None:
    """A processed order stays, an unknown one is not found, and nobody is told of either."""
    order = await place_order(client)
    await ended(client, await trigger(client, order))
    assert (await client.execute(CANCEL, {"order": order})).codes == ["FAILED_PRECONDITION"]
    assert (await client.execute(CANCEL, {"order": "order-0"})).codes == ["NOT_FOUND"]
    assert len((await client.run("{ orders { id } }"))["orders"]) == 1
    assert await fired(client, "order-cancelled", times=0) == []


async def test_the_orders_are_counted_each_night(settings: Settings) -> None:
    """The report is due at two in Berlin, counts by status, is kept once per day, and is what the firing answers."""
    platform = EmbeddedPlatform(settings.database)
    async with serve(serve_shop(settings, platform)) as client:
        client.http.headers.update(ALICE)
        await place_order(client)
        await ended(client, await trigger(client, await place_order(client)))
        listed = (await as_manager(client, "{ executors { name nextTime } }"))["executors"]
        (next_time,) = [one["nextTime"] for one in listed if one["name"] == "daily-report"]
        assert datetime.fromisoformat(next_time).astimezone(ZoneInfo("Europe/Berlin")).hour == 2
        for times in (1, 2):
            await platform.start_workflow(
                firing_name("daily-report"),
                json.dumps({"scheduled_time": "2030-01-01T23:30:00Z"}),
                caller=executor_user("daily-report"),
            )
            firings = await fired(client, "daily-report", times)
        reports = (await client.run("{ reports { day placed processed } }"))["reports"]
    assert [firing["status"] for firing in firings] == ["SUCCESS", "SUCCESS"]
    assert firings[0]["argumentsHash"] == firings[1]["argumentsHash"]
    assert "INFO 1 orders are placed, 1 are processed" in firings[0]["jobs"][0]["logs"][0]
    assert reports == [{"day": "2030-01-02", "placed": 1, "processed": 1}]


async def test_what_is_placed_is_written_down_by_the_shop_itself(client: GraphQLClient) -> None:
    """The end of the resolver runs a mutation as the machine user, which nobody who can call may run."""
    order = await place_order(client, customer="bob")
    (firing,) = await fired(client, "order-placed")
    assert (firing["status"], firing["error"]) == ("SUCCESS", None)
    written = (await client.run("{ activities { orderId text } }"))["activities"]
    assert written == [{"orderId": order, "text": "bob placed it: Tea"}]
    for caller in (ALICE, MANAGER):
        assert (await client.execute(RECORD, headers=caller)).codes == ["FORBIDDEN"]
    assert (await client.run("{ activities { orderId text } }"))["activities"] == written


async def test_an_order_that_is_refused_is_not_written_down(client: GraphQLClient) -> None:
    """The resolver's failure is an event too, whose condition is not met."""
    result = await client.execute('mutation { placeOrder(customerId: "carol", item: "Tea", totalCents: 1) { id } }')
    assert result.codes == ["NOT_FOUND"]
    (firing,) = await fired(client, "order-placed")
    assert (firing["status"], firing["skipped"]) == ("SUCCESS", True)


def payment(order: str, key: str, *, sent: timedelta = timedelta()) -> dict[str, Any]:
    """A request as the provider signs it, a while ago, for `httpx`."""
    body = json.dumps({"order_id": order, "customer_id": "alice", "amount_cents": 450})
    now = datetime.now(UTC) - sent
    return {
        "content": body,
        "headers": {
            "content-type": "application/json",
            "webhook-id": "evt-1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(key).sign("evt-1", now, body),
        },
    }


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


async def test_a_paid_order_is_processed_once(client: GraphQLClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed request starts the workflow as the machine user; delivered again it starts nothing."""
    monkeypatch.setenv("SHOP_WEBHOOK_SECRET", key := new_key())
    order = await place_order(client)
    for sent in (timedelta(seconds=5), timedelta()):
        answer = await client.http.post("/webhooks/payment-received", **payment(order, key, sent=sent))
        assert answer.status_code == 204
    (firing,) = await fired(client, "payment-received")
    run = await ended(client, firing["workflowRunId"])
    assert run["input"] == {"orderId": order, "customerId": "alice"}
    assert "for manager-machine-user" in run["jobs"][0]["logs"][0]
    assert (await client.run("{ orders { status } }"))["orders"] == [{"status": "PROCESSED"}]


async def test_a_payment_that_nobody_signed_starts_nothing(
    client: GraphQLClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key, and a body that is no payment, are refused."""
    monkeypatch.setenv("SHOP_WEBHOOK_SECRET", key := new_key())
    answer = await client.http.post("/webhooks/payment-received", **payment("order-0", new_key()))
    assert answer.status_code == 404
    wrong = payment("order-0", key)
    wrong["headers"]["webhook-signature"] = Webhook(key).sign("evt-1", datetime.now(UTC), "{}")
    assert (await client.http.post("/webhooks/payment-received", **(wrong | {"content": "{}"}))).status_code == 400
    assert await fired(client, "payment-received", times=0) == []


async def test_without_its_secret_the_webhook_is_closed(
    client: GraphQLClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The sender is told to come back, the log names the variable, and the rest of the shop works."""
    monkeypatch.delenv("SHOP_WEBHOOK_SECRET", raising=False)
    answer = await client.http.post("/webhooks/payment-received", **payment("order-0", new_key()))
    assert answer.status_code == 503
    assert "SHOP_WEBHOOK_SECRET" in caplog.text
    assert "SHOP_WEBHOOK_SECRET" not in answer.text
    await place_order(client)


@asynccontextmanager
async def partner(tmp_path: Path) -> AsyncIterator[tuple[Settings, list[tuple[httpx.Headers, Any]]]]:
    """Settings with a partner on this machine, and what it is told."""
    told: list[tuple[httpx.Headers, Any]] = []

    async def take(request: Request) -> Response:
        told.append((httpx.Headers(request.headers.raw), await request.json()))
        return Response(status_code=202)

    async with serving(Starlette(routes=[Route("/orders", take, methods=["POST"])])) as url:
        yield (
            Settings(database=tmp_path / "shop.sqlite", partner_url=f"{url}/orders", partner_networks=("127.0.0.0/8",)),
            told,
        )


async def test_the_partner_is_told_of_a_processed_order_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real request with the secret and the order; processing it again changes no status and tells nobody."""
    monkeypatch.setenv("SHOP_PARTNER_TOKEN", TOKEN)
    async with partner(tmp_path) as (settings, told), served(settings) as client:
        order = await place_order(client)
        await ended(client, await trigger(client, order))
        (firing,) = await fired(client, "order-processed")
        await ended(client, await trigger(client, order))
        await ended(client, await trigger(client, await place_order(client)))
        await fired(client, "order-processed", times=2)
    assert (firing["status"], firing["skipped"]) == ("SUCCESS", False)
    assert len(told) == 2
    headers, body = told[0]
    assert headers["authorization"] == TOKEN
    assert headers["webhook-id"] == firing["id"]
    assert body == {"id": order, "customer_id": "alice", "item": "Tea", "total_cents": 450, "status": "PROCESSED"}


async def test_the_partner_is_told_of_no_other_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a processed order that was processed before is noticed, and its condition is not met."""
    monkeypatch.setenv("SHOP_PARTNER_TOKEN", TOKEN)
    async with partner(tmp_path) as (settings, told), served(settings) as client:
        order = await place_order(client)
        await ended(client, await trigger(client, order))
        await fired(client, "order-processed")

        def change() -> None:
            with Session(create_engine(f"sqlite:///{settings.data}", poolclass=NullPool)) as data, data.begin():
                data.get_one(OrderRow, order).item = "Green tea"

        await asyncio.to_thread(change)  # this loop may be in the middle of a transaction
        (firing, _) = await fired(client, "order-processed", times=2)
    assert (firing["status"], firing["skipped"], len(told)) == ("SUCCESS", True, 1)


async def test_without_its_secret_the_partner_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The firing fails at once, and says which variable to set; the order is processed all the same."""
    monkeypatch.delenv("SHOP_PARTNER_TOKEN", raising=False)
    async with partner(tmp_path) as (settings, told), served(settings) as client:
        run = await ended(client, await trigger(client, await place_order(client)))
        (firing,) = await fired(client, "order-processed")
    assert run["status"] == "SUCCESS"
    assert (firing["status"], firing["attempts"], told) == ("FAILED", 1, [])
    assert "SHOP_PARTNER_TOKEN" in firing["error"]


async def test_secrets_are_in_no_log_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what the shop logs nor what an operator sees holds the partner's token or the provider's key."""
    caplog.set_level(logging.DEBUG)
    key = new_key()
    monkeypatch.setenv("SHOP_PARTNER_TOKEN", TOKEN)
    monkeypatch.setenv("SHOP_WEBHOOK_SECRET", key)
    async with partner(tmp_path) as (settings, told), served(settings) as client:
        order = await place_order(client)
        await client.http.post("/webhooks/payment-received", **payment(order, key))
        seen = [*await fired(client, "payment-received"), *await fired(client, "order-processed")]
        shown = await as_manager(client, "{ executors { description triggerDetail operationDetail } }")
    assert told
    for secret in (TOKEN, TOKEN.removeprefix("Bearer "), key):
        assert secret not in caplog.text + json.dumps([seen, shown])


async def test_only_managers_see_the_executors(client: GraphQLClient) -> None:
    """The manager sees all six with what they wait for and do; others are refused, and see no firing by its ID."""
    await place_order(client)
    (firing,) = await fired(client, "order-placed")
    query = "{ executors { name disabled triggerKind operationKind operationDetail } }"
    listed = {one.pop("name"): tuple(one.values()) for one in (await as_manager(client, query))["executors"]}
    assert listed == {
        "daily-report": (False, "SCHEDULE", "FUNCTION", "count_orders"),
        "order-cancelled": (False, "RECORD_DELETED", "FUNCTION", "notify_of_cancellation"),
        "order-created": (False, "RECORD_CREATED", "WORKFLOW", "order-review"),
        "order-placed": (False, "RESOLVER_EXECUTED", "GRAPHQL", "mutation RecordActivity"),
        "order-processed": (True, "RECORD_UPDATED", "WEBHOOK", "partner.example"),
        "payment-received": (False, "INCOMING_WEBHOOK", "WORKFLOW", "order-processing"),
    }
    refused = ("{ executors { name } }", '{ executorJobs(executor: "order-placed") { edges { cursor } } }')
    for operation in refused:
        assert (await client.execute(operation)).codes == ["FORBIDDEN"]
    assert (await client.execute("query ($id: ID!) { workflowRun(id: $id) { id } }", {"id": firing["id"]})).codes == [
        "NOT_FOUND"
    ]
    del client.http.headers["Authorization"]
    for operation in refused:
        assert (await client.execute(operation)).codes == ["UNAUTHENTICATED"]
