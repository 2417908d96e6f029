"""Webhooks that executors send."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic.alias_generators import to_camel

from gqlplugin import executor
from gqlplugin.app import define_app
from gqlplugin.errors import DefinitionError
from gqlplugin.executor import create_executor, incoming_webhook_trigger, webhook_operation
from gqlplugin.executor.operation import TEN_ATTEMPTS, Operation, backoff
from gqlplugin.executor.trigger import IncomingWebhookArgs
from gqlplugin.identity import executor_user
from gqlplugin.platform.base import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform
from gqlplugin.runs import ExecutionStatus, RetryPolicy, WorkflowExecution
from gqlplugin.secret import secret
from gqlplugin.testing import MemoryPlatform
from tests.contract.support import ended, in_status
from tests.test_outbound import OK, PATIENCE, Receiver, receiver

pytestmark = pytest.mark.anyio

SOON = RetryPolicy(max_retries=9, initial_backoff=timedelta(milliseconds=1), max_backoff=timedelta(milliseconds=1))
LOOPBACK = ["127.0.0.1/32"]
NAME = "executor/notify"

Given = IncomingWebhookArgs[Any]


class Order(BaseModel):
    """What is sent."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    order_id: str


def app_of(operation: Operation[Given]) -> Any:
    """An app whose one executor does this, and tries again at once."""
    if operation.retry_policy is TEN_ATTEMPTS:
        operation.retry_policy = SOON
    trigger = incoming_webhook_trigger(path_secrets=[secret("NEVER_ASKED_FOR")])
    return define_app("sender", executors=[create_executor("notify", trigger=trigger, operation=operation)])


async def fire(platform: Platform, body: object = None) -> str:
    """Start a firing."""
    arg = json.dumps({"body": body, "headers": {}, "method": "POST", "raw_body": "", "query": {}})
    return await platform.start_workflow(NAME, arg, caller=executor_user("notify"))


async def fired(operation: Operation[Given], body: object = None) -> WorkflowExecution:
    """A firing of an operation once it has ended."""
    async with MemoryPlatform() as platform, platform.execute(app_of(operation)):
        return await ended(platform, await fire(platform, body))


def url_of(seen: Receiver, path: str = "/") -> str:
    """The URL of a server."""
    return f"http://127.0.0.1:{seen.port}{path}"


def headers_of(request: bytes) -> dict[str, str]:
    """The headers of a request, by lower-case name."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def answering(*answers: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Gives these answers one after another, the last one again and again."""
    left = list(answers)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return answer


def status(code: int, *headers: str) -> bytes:
    """An answer without a body."""
    return "\r\n".join([f"HTTP/1.1 {code} X", "content-length: 0", *headers, "", ""]).encode()


async def test_a_webhook_is_posted_as_json() -> None:
    """The receiver gets the body, whose it is, and the ID of the firing; the firing tells the status."""
    async with receiver(status(202)) as seen:
        operation: Operation[Given] = webhook_operation(
            url_of(seen, "/orders?a=1"), request_body={"a": [1, None]}, headers={"X-A": "b"}, allow_networks=LOOPBACK
        )
        run = await fired(operation)
    assert run.status is ExecutionStatus.SUCCESS, run.error
    assert run.output is not None
    assert json.loads(run.output)["result"] == 202
    [request] = seen.requests
    assert request.startswith(b"POST /orders?a=1 HTTP/1.1\r\n")
    assert request.endswith(b'\r\n\r\n{"a":[1,null]}')
    headers = headers_of(request)
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == run.id
    assert headers["user-agent"].startswith("gqlplugin/")
    assert headers["x-a"] == "b"


async def test_what_is_sent_can_follow_from_the_arguments() -> None:
    """URL and body may be functions of the arguments, plain or async; a model is sent by its aliases."""
    async with receiver() as seen:

        async def url(args: Given) -> str:
            return url_of(seen, f"/{args.body['id']}")

        operation = webhook_operation(
            url, request_body=lambda args: Order(order_id=args.body["id"]), allow_networks=LOOPBACK
        )
        await fired(operation, {"id": "o-1"})
    assert seen.requests[0].startswith(b"POST /o-1 ")
    assert seen.requests[0].endswith(b'{"orderId":"o-1"}')


async def test_no_body_is_sent_by_default() -> None:
    """Without a body there is no type of one; a function that returns None sends null."""
    async with receiver() as seen:
        plain: Operation[Given] = webhook_operation(url_of(seen), allow_networks=LOOPBACK)
        await fired(plain)
        null: Operation[Given] = webhook_operation(url_of(seen), request_body=lambda _: None, allow_networks=LOOPBACK)
        await fired(null)
    without, with_null = seen.requests
    assert headers_of(without)["content-length"] == "0"
    assert "content-type" not in headers_of(without)
    assert with_null.endswith(b"\r\n\r\nnull")


async def test_headers_of_ours_can_be_replaced() -> None:
    """Content type and user agent are defaults, whatever the case they are given in."""
    async with receiver() as seen:
        operation: Operation[Given] = webhook_operation(
            url_of(seen),
            headers={"Content-Type": "application/cloudevents+json", "USER-AGENT": "shop"},
            request_body=1,
            allow_networks=LOOPBACK,
        )
        await fired(operation)
    assert seen.requests[0].lower().count(b"content-type") == 1
    headers = headers_of(seen.requests[0])
    assert (headers["content-type"], headers["user-agent"]) == ("application/cloudevents+json", "shop")


async def test_a_failure_is_tried_again_under_the_same_id() -> None:
    """Whatever is not 2xx, and a connection that breaks, is tried again, and the receiver can tell a repetition."""
    answers = [status(500), status(404), status(429), status(301, "location: /"), b"", b"no\r\n\r\n", OK]
    async with receiver(answering(*answers)) as seen:
        operation: Operation[Given] = webhook_operation(url_of(seen), allow_networks=LOOPBACK)
        run = await fired(operation)
    assert (run.status, run.attempt) == (ExecutionStatus.SUCCESS, 6)
    assert [headers_of(request)["webhook-id"] for request in seen.requests] == [run.id] * 7


async def test_a_webhook_is_given_up_after_ten_attempts() -> None:
    """The tenth failure is the firing's, and its message tells the status."""
    async with receiver(status(503)) as seen:
        operation: Operation[Given] = webhook_operation(url_of(seen), allow_networks=LOOPBACK)
        run = await fired(operation)
    assert run.error is not None
    assert (run.status, run.error.code) == (ExecutionStatus.FAILED, "WEBHOOK_FAILED")
    assert run.error.message == "The webhook answered 503."
    assert len(seen.requests) == 10


async def test_a_time_out_is_tried_again() -> None:
    """A receiver that does not answer in time gets another try."""
    silent = True

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal silent
        if silent:
            silent = False
            await reader.read()
        writer.write(OK)

    async with receiver(answer) as seen:
        operation: Operation[Given] = webhook_operation(
            url_of(seen), timeout=timedelta(seconds=2), allow_networks=LOOPBACK
        )
        run = await fired(operation)
    assert (run.status, run.attempt) == (ExecutionStatus.SUCCESS, 1)


async def test_a_redirect_says_so() -> None:
    """Whoever looks at the failure learns that the URL has moved."""
    async with receiver(status(308, "location: http://169.254.169.254/")) as seen:
        operation: Operation[Given] = webhook_operation(url_of(seen), allow_networks=LOOPBACK)
        run = await fired(operation)
    assert run.error is not None
    assert "answered 308, a redirect, which is not followed" in run.error.message


async def test_a_webhook_that_is_gone_is_not_tried_again() -> None:
    """410 says that nobody will ever want it."""
    async with receiver(status(410)) as seen:
        operation: Operation[Given] = webhook_operation(url_of(seen), allow_networks=LOOPBACK)
        run = await fired(operation)
    assert run.error is not None
    assert (run.status, run.error.code, len(seen.requests)) == (ExecutionStatus.FAILED, "WEBHOOK_GONE", 1)


def _broken(_: Given) -> Any:
    raise ValueError("no")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"url": _broken}, "EXECUTOR_URL_FAILED"),
        ({"url": lambda _: "ftp://127.0.0.1/"}, "TARGET_REFUSED"),
        ({"url": lambda _: "http://2130706433/"}, "TARGET_REFUSED"),
        ({"url": lambda _: None}, "TARGET_REFUSED"),
        ({"allow_networks": [], "url": lambda args: f"http://127.0.0.1:{args.body}/"}, "TARGET_REFUSED"),
        ({"allow_networks": [], "url": lambda args: f"http://localhost:{args.body}/"}, "TARGET_REFUSED"),
        ({"request_body": _broken}, "EXECUTOR_REQUEST_BODY_FAILED"),
        ({"request_body": lambda _: object()}, "EXECUTOR_REQUEST_BODY_FAILED"),
        ({"request_body": lambda _: float("nan")}, "EXECUTOR_REQUEST_BODY_FAILED"),
        ({"headers": {"authorization": secret("NOBODY_SET_THIS")}}, "FAILED_PRECONDITION"),
        ({"headers": {"authorization": SecretStr("hunter2\r\nx: y")}}, "EXECUTOR_HEADERS_FAILED"),
        ({"headers": {"authorization": SecretStr("hunter2\n")}}, "EXECUTOR_HEADERS_FAILED"),
    ],
)
async def test_what_no_try_could_mend_is_not_tried_again(options: dict[str, Any], code: str) -> None:
    """A mistake in the definition fails the firing at once, and nothing is sent."""
    async with receiver() as seen:
        given = {"url": lambda args: f"http://127.0.0.1:{args.body}/", "allow_networks": LOOPBACK, **options}
        run = await fired(webhook_operation(given.pop("url"), **given), seen.port)
    assert run.error is not None
    assert (run.status, run.error.code, run.attempt) == (ExecutionStatus.FAILED, code, 0)
    assert seen.connections == 0
    assert "hunter2" not in f"{run.error.message}{run.error.detail}"


async def test_retry_after_is_waited_for() -> None:
    """The next try comes no sooner than the receiver wants it."""
    async with receiver(status(429, "retry-after: 5000")) as seen:
        operation: Operation[Given] = webhook_operation(url_of(seen), allow_networks=LOOPBACK)
        async with MemoryPlatform() as platform, platform.execute(app_of(operation)):
            run_id = await fire(platform)
            run = await in_status(platform, run_id, ExecutionStatus.PENDING_RETRY)
    assert run.error is not None
    assert run.error.retry_after == 5000


@given(st.integers(0, 8), st.floats(0, 100_000))
def test_waits_are_by_chance_and_double(attempt: int, asked: float) -> None:
    """A wait is at most that of the policy, at least what was asked for, and hardly ever that of another firing."""
    longest = timedelta(seconds=5 * 2**attempt)
    waits = [backoff(TEN_ATTEMPTS, attempt) for _ in range(20)]
    assert all(wait is not None and timedelta(0) <= wait <= longest for wait in waits)
    assert len(set(waits)) > 10
    at_least = timedelta(seconds=asked)
    wait = backoff(TEN_ATTEMPTS, attempt, at_least=at_least)
    assert wait is not None
    assert at_least <= wait <= max(longest, at_least)


def test_without_a_policy_the_wait_is_what_was_asked_for() -> None:
    """An operation whose retries are turned off has no wait of its own."""
    assert backoff(None, 3) is None
    assert backoff(None, 3, at_least=timedelta(1)) == timedelta(1)


async def test_secrets_are_looked_up_at_each_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that is replaced is the new one at the next try."""
    monkeypatch.setenv("HOOK_AUTHORIZATION", "Bearer old")

    async def rotate(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        monkeypatch.setenv("HOOK_AUTHORIZATION", "Bearer new")
        writer.write(status(401) if len(seen.requests) == 1 else OK)

    async with receiver(rotate) as seen:
        operation: Operation[Given] = webhook_operation(
            url_of(seen),
            headers={"Authorization": secret("HOOK_AUTHORIZATION"), "x-key": SecretStr("k")},
            allow_networks=LOOPBACK,
        )
        await fired(operation)
    assert [headers_of(request)["authorization"] for request in seen.requests] == ["Bearer old", "Bearer new"]
    assert headers_of(seen.requests[0])["x-key"] == "k"


async def test_nothing_secret_stays_behind(caplog: pytest.LogCaptureFixture) -> None:
    """The log of a firing names host, status and time; no path, header or body is in it, in an error or in a log."""
    caplog.set_level(logging.INFO)  # below, httpcore logs what a server answers, which may repeat what it was sent
    answers = [status(500, "set-cookie: a=b"), b"hunter2\r\n\r\n", OK]
    async with receiver(answering(*answers)) as seen:
        operation: Operation[Given] = webhook_operation(
            lambda _: url_of(seen, "/hunter2?a=hunter2"),
            headers={"x-key": SecretStr("hunter2")},
            request_body=lambda _: "hunter2",
            allow_networks=LOOPBACK,
        )
        async with MemoryPlatform() as platform, platform.execute(app_of(operation)):
            run = await ended(platform, run_id := await fire(platform))
            [job] = (await platform.get_jobs([run_id]))[run_id]
        failure: Operation[Given] = webhook_operation(
            url_of(seen, "/hunter2"), timeout=timedelta(milliseconds=1), allow_networks=LOOPBACK
        )
        failed = await fired(failure)
    assert job.logs[-1].partition(" INFO ")[2].startswith("POST to 127.0.0.1: 204 (")
    assert failed.error is None or "hunter2" not in f"{failed.error.message}{failed.error.detail}"
    assert "hunter2" not in f"{job.logs}{run.output}{caplog.text}{operation!r}{vars(operation)}"


async def test_every_try_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Those who look after the process see which host fails, and how."""
    async with receiver(answering(status(500), b"", OK)) as seen:
        operation: Operation[Given] = webhook_operation(url_of(seen), allow_networks=LOOPBACK)
        with caplog.at_level(logging.INFO, "gqlplugin.jobs"):
            await fired(operation)
    lines = [record.getMessage().partition(" (")[0] for record in caplog.records if record.name == "gqlplugin.jobs"]
    assert lines == [
        "POST to 127.0.0.1: 500",
        "POST to 127.0.0.1: The request failed: RemoteProtocolError.",
        "POST to 127.0.0.1: 204",
    ]


@asynccontextmanager
async def process(path: Path, operation: Operation[Given]) -> AsyncIterator[EmbeddedPlatform]:
    """A process that executes a file, and at the end is stopped in the middle of what it does."""
    async with EmbeddedPlatform(path, shutdown_grace=timedelta(0)) as platform, platform.execute(app_of(operation)):
        yield platform


async def test_a_firing_survives_its_process(tmp_path: Path) -> None:
    """A request that was on its way when the process ended is sent again, under the same ID."""
    arrived = asyncio.Event()

    async def hold_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not arrived.is_set():
            arrived.set()
            await reader.read()
        writer.write(OK)

    async with receiver(hold_the_first) as seen:
        operation: Operation[Given] = webhook_operation(url_of(seen), allow_networks=LOOPBACK)
        async with process(tmp_path / "x.sqlite", operation) as platform:
            run_id = await fire(platform)
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await arrived.wait()
        async with process(tmp_path / "x.sqlite", operation) as platform:
            run = await ended(platform, run_id)
    assert (run.status, run.attempt) == (ExecutionStatus.SUCCESS, 0)
    assert [headers_of(request)["webhook-id"] for request in seen.requests] == [run_id] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "hook"}, ["does not begin with https:// or http://"]),
        ({"url": "https://user:hunter2@host/"}, ["a user or a password"]),
        ({"url": "http://169.254.169.254/latest"}, ["not public"]),
        ({"url": "http://[::1]/"}, ["not public"]),
        ({"headers": {"Webhook-ID": "1"}}, ["'Webhook-ID' is set by itself"]),
        ({"headers": {"host": "x", "content-length": "1"}}, ["'host' is set", "'content-length' is set"]),
        ({"headers": {"a b": "x", "": "x", "é": "x"}}, ["'a b' can't be", "'' can't be", "'é' can't be"]),
        ({"headers": {"x": "hunter2\n"}}, ["The value of header 'x' can't be sent"]),
        ({"headers": {"x-a": "1", "X-A": "2"}}, ["'x-a' is given twice"]),
        ({"request_body": {"a": float("inf")}}, ["not JSON"]),
        ({"request_body": object()}, ["not JSON"]),
        ({"timeout": timedelta(0)}, ["timeout is not above 0"]),
        ({"allow_networks": ["10.0.0.1/8"]}, ["allow_networks", "10.0.0.1/8 has host bits set"]),
        ({"url": "x", "timeout": timedelta(-1)}, ["https://", "timeout"]),
    ],
)
def test_a_definition_that_can_not_work_is_refused(options: dict[str, Any], said: Sequence[str]) -> None:
    """What is wrong is told where it is defined, all at once, and without values that may be secret."""
    given = {"url": "https://example.com/", **options}
    with pytest.raises(DefinitionError) as caught:
        webhook_operation(given.pop("url"), **given)
    assert all(text in caught.value.message for text in said), caught.value.message
    assert "test_webhook.py:" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_networks_may_be_one_text() -> None:
    """A text is one network, and not a sequence of characters."""
    operation: Operation[Given] = webhook_operation("http://10.1.2.3/", allow_networks="10.0.0.0/8")
    assert operation.detail == "10.1.2.3"


def test_the_detail_is_the_host() -> None:
    """People see where a webhook goes, and not the path, which may be secret."""
    fixed: Operation[Given] = webhook_operation("https://Hooks.example.com/hunter2")
    assert fixed.detail == "hooks.example.com"
    computed = webhook_operation(str)
    assert computed.detail == "(a host that follows from the arguments)"


def test_an_app_without_webhooks_loads_no_client() -> None:
    """What sends requests is loaded by those who name it, as it takes longer than all the rest of the executors."""
    code = "import sys, gqlplugin.executor as e; print('httpx' in sys.modules, e.webhook_operation.__name__)"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["False", "webhook_operation"]
    with pytest.raises(AttributeError, match="no attribute 'web_hook'"):
        getattr(executor, "web_hook")  # noqa: B009 - type checkers know that it is not there
