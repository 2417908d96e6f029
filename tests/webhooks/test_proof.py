"""Who may send: secrets in paths, signatures, and the one answer to everybody else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

import httpx
import pytest
from standardwebhooks import Webhook

from gqlplugin.errors import GqlpluginError
from gqlplugin.executor import IncomingWebhookTrigger, incoming_webhook_trigger
from gqlplugin.secret import secret
from gqlplugin.testing import MemoryPlatform
from gqlplugin.webhooks.request import RefusedRequestError
from gqlplugin.webhooks.signature import check_path_secret, check_signature
from tests.webhooks.support import (
    ENVIRONMENT,
    NEW,
    OLD,
    PATH_NEW,
    PATH_OLD,
    arguments,
    firings,
    hooks,
    signed,
    signed_json,
)

pytestmark = pytest.mark.anyio

MINUTES_AGO = timedelta(minutes=6)
BODY = '{"a": 1}'


def _without(name: str) -> dict[str, str]:
    return {header: value for header, value in signed(BODY).items() if header != name}


def _with(**changed: str) -> dict[str, str]:
    return {**signed(BODY), **{name.replace("_", "-"): value for name, value in changed.items()}}


def refused() -> dict[str, tuple[str, Mapping[str, str]]]:
    """Requests to be refused, signed now: minutes later another reason would do for any of them."""
    return {
        "unknown": ("/webhooks/nobody", signed(BODY)),
        "unknown, in the path": (f"/webhooks/nobody/{PATH_NEW}", {}),
        "of another kind": ("/webhooks/nightly", signed(BODY)),
        "of another kind, in the path": (f"/webhooks/nightly/{PATH_NEW}", {}),
        "disabled": ("/webhooks/asleep", signed(BODY)),
        "disabled, in the path": (f"/webhooks/asleep-by-path/{PATH_NEW}", {}),
        "unsigned": ("/webhooks/signed", {}),
        "no id": ("/webhooks/signed", _without("webhook-id")),
        "no timestamp": ("/webhooks/signed", _without("webhook-timestamp")),
        "no signature": ("/webhooks/signed", _without("webhook-signature")),
        "another key": ("/webhooks/signed", signed(BODY, key="whsec_" + "A" * 40)),
        "another body": ("/webhooks/signed", signed('{"a": 2}')),
        "another id": ("/webhooks/signed", _with(webhook_id="msg_2")),
        "a dot in the id": ("/webhooks/signed", signed(BODY, id="msg.1")),
        "too old": ("/webhooks/signed", signed(BODY, ago=MINUTES_AGO)),
        "too new": ("/webhooks/signed", signed(BODY, ago=-MINUTES_AGO)),
        "another form of the timestamp": (
            "/webhooks/signed",
            _with(webhook_timestamp=signed(BODY)["webhook-timestamp"] + ".5"),
        ),
        "a timestamp that is none": ("/webhooks/signed", _with(webhook_timestamp="nan")),
        "a signature without a comma": ("/webhooks/signed", _with(webhook_signature="v1")),
        "a signature of three parts": ("/webhooks/signed", _with(webhook_signature="v1,AAAA,AAAA")),
        "a signature that is not base64": ("/webhooks/signed", _with(webhook_signature="v1,A")),
        "a signature that is not ASCII": ("/webhooks/signed", _with(webhook_signature="v1,ä")),
        "a signature of another version": ("/webhooks/signed", _with(webhook_signature="v1a,AAAA")),
        "signed, where a secret is wanted": ("/webhooks/by-path", signed(BODY)),
        "a secret, where signatures are wanted": (f"/webhooks/signed/{NEW}", {}),
        "a wrong secret": ("/webhooks/by-path/path-secret-that-is-wrong", {}),
        "an empty secret": ("/webhooks/by-path/", {}),
        "a part of the secret": (f"/webhooks/by-path/{PATH_NEW[:-1]}", {}),
        "more than the secret": (f"/webhooks/by-path/{PATH_NEW}/", {}),
        "a secret that is not ASCII": ("/webhooks/by-path/p%C3%A4th", {}),
    }


@pytest.mark.parametrize("which", refused())
async def test_there_is_one_answer_for_all_refusals(
    http: httpx.AsyncClient, platform: MemoryPlatform, which: str
) -> None:
    """Status, body and headers don't tell what there is, nor what was wrong; nothing starts."""
    path, headers = refused()[which]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    response = await http.post(path, content=BODY, headers=raw)
    reference = await http.post("/webhooks/never-heard-of", content="")
    assert (response.status_code, response.content, response.headers) == (404, reference.content, reference.headers)
    for name in ("signed", "by-path", "asleep", "asleep-by-path", "nightly"):
        assert not await firings(platform, name)


async def test_a_body_that_is_no_text_is_not_signed(http: httpx.AsyncClient) -> None:
    """The library can't sign bytes that are not UTF-8, so nobody has signed these."""
    response = await http.post("/webhooks/signed", content=b"\xff\xfe", headers=signed(""))
    assert response.status_code == 404


@pytest.mark.parametrize("key", [NEW, OLD, OLD.rstrip("=")])
async def test_each_of_the_signing_secrets_is_good(http: httpx.AsyncClient, platform: MemoryPlatform, key: str) -> None:
    """A secret is changed without losing a request: both are good, with and without the prefix or padding."""
    response = await http.post("/webhooks/signed", **signed_json({"a": 1}, key=key))
    assert response.status_code == 204
    assert len(await firings(platform, "signed")) == 1


async def test_one_good_signature_of_several_is_enough(http: httpx.AsyncClient) -> None:
    """As senders do while they change their key."""
    headers = signed(BODY)
    headers["webhook-signature"] = f"v1a,AAAA {signed(BODY, key=OLD)['webhook-signature']} v1,AAAA"
    assert (await http.post("/webhooks/signed", content=BODY, headers=headers)).status_code == 204


@pytest.mark.parametrize("given", [PATH_NEW, PATH_OLD])
async def test_each_of_the_path_secrets_is_good(http: httpx.AsyncClient, platform: MemoryPlatform, given: str) -> None:
    """The same for secrets in the path."""
    assert (await http.post(f"/webhooks/by-path/{given}")).status_code == 204
    assert len(await firings(platform, "by-path")) == 1


async def test_a_secret_is_looked_up_when_it_is_needed(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that changes while the process runs is good from then on."""
    monkeypatch.setenv("SHOP_PATH_NEW", "another-path-secret")
    assert (await http.post("/webhooks/by-path/another-path-secret")).status_code == 204
    assert (await http.post(f"/webhooks/by-path/{PATH_NEW}")).status_code == 404


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        ("/webhooks/unset-secret", "SHOP_UNSET"),
        ("/webhooks/not-base64-secret", "SHOP_NOT_BASE64"),
        ("/webhooks/short-secret", "SHOP_SHORT"),
        (f"/webhooks/short-path-secret/{ENVIRONMENT['SHOP_SHORT']}", "SHOP_SHORT"),
    ],
)
async def test_a_secret_of_ours_that_is_of_no_use_is_told_to_the_operators(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str, variable: str
) -> None:
    """The log names the variable, never its value; the sender may send again later."""
    response = await http.post(path, content=BODY, headers=signed(BODY))
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert variable not in response.text
    assert variable in caplog.text
    assert not any(value in caplog.text + response.text for value in ENVIRONMENT.values())


async def test_one_usable_secret_of_two_is_enough(http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """A rotation that is half done loses nothing that the old secret proves; for the rest it may be the missing one."""
    assert (await http.post("/webhooks/half-set-secret", **signed_json(1, key=OLD))).status_code == 204
    assert "SHOP_UNSET" in caplog.text
    assert (await http.post("/webhooks/half-set-secret", **signed_json(1, key=NEW))).status_code == 503


async def test_no_secret_is_in_a_log(http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Neither those of ours nor what was sent for one, at any level."""
    caplog.set_level(logging.DEBUG)
    await http.post(f"/webhooks/by-path/{PATH_NEW}", content="{", headers={"content-type": "application/json"})
    await http.post("/webhooks/by-path/a-guess-at-it")
    await http.post("/webhooks/signed", **signed_json(1))
    await http.post("/webhooks/signed", content=BODY, headers=_with(webhook_signature="v1,a-guess-at-it"))
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("gqlplugin"))
    assert "Refused a request to executor 'by-path'" in ours
    assert "Refused a request to executor 'signed'" in ours
    assert not any(value in ours for value in (*ENVIRONMENT.values(), "a-guess-at-it"))


async def test_a_copy_of_a_request_is_answered_as_it_was(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """The very same ID, timestamp and bytes get the same answer again, and start nothing more."""
    refused = signed_json({"order_id": "o-1"})
    taken = signed_json({"order_id": "o-1", "cents": 1}, id="msg_2")
    for _ in range(3):
        assert (await http.post("/webhooks/payment", **refused)).status_code == 400
        assert (await http.post("/webhooks/payment", **taken)).status_code == 204
    assert len(await firings(platform, "payment")) == 1
    # another executor's delivery is another one
    assert (await http.post("/webhooks/signed", **taken)).status_code == 204
    assert len(await firings(platform, "signed")) == 1


async def test_headers_of_svix_are_taken(http: httpx.AsyncClient, platform: MemoryPlatform) -> None:
    """`svix-id`, `svix-timestamp` and `svix-signature` prove a sender as those of Standard Webhooks do."""
    svix = {name.replace("webhook-", "svix-"): value for name, value in signed(BODY).items()}
    for _ in range(2):
        assert (await http.post("/webhooks/signed", content=BODY, headers=svix)).status_code == 204
    assert (await http.post("/webhooks/signed", content="{}", headers=svix)).status_code == 404
    args = await arguments(platform, "signed")
    assert args["headers"]["svix-id"] == "msg_1"
    assert "svix-signature" not in args["headers"]


async def test_one_set_of_headers_counts(http: httpx.AsyncClient) -> None:
    """A signature of Svix does not prove an ID of Standard Webhooks."""
    svix = {name.replace("webhook-", "svix-"): value for name, value in signed(BODY).items()}
    headers = {**svix, "webhook-id": "another"}
    assert (await http.post("/webhooks/signed", content=BODY, headers=headers)).status_code == 404


async def test_secrets_of_no_use_are_found_when_the_app_starts(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the executor and the variable of each before any request, and no value; the app serves the rest."""
    async with hooks(MemoryPlatform()) as client:
        lines = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
        assert (await client.post("/webhooks/signed", **signed_json(1))).status_code == 204
    for executor, variable in (
        ("unset-secret", "SHOP_UNSET"),
        ("half-set-secret", "SHOP_UNSET"),
        ("not-base64-secret", "SHOP_NOT_BASE64"),
        ("short-secret", "SHOP_SHORT"),
        ("short-path-secret", "SHOP_SHORT"),
    ):
        assert [line for line in lines if repr(executor) in line and variable in line], executor
    assert len(lines) == 5
    assert not any(value in "".join(lines) for value in ENVIRONMENT.values())


@pytest.mark.parametrize("secrets", [["SHOP_SIGNING_NEW"], ["SHOP_SIGNING_NEW", "SHOP_SIGNING_OLD"]])
def test_a_name_that_is_unknown_costs_as_much_to_refuse(secrets: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to nobody is checked as often as a wrong one to somebody, so that time does not tell them apart."""
    checked: list[str] = []
    verify = Webhook.verify

    def counted(key: Webhook, data: str, headers: dict[str, str], *, json_parse: bool = True) -> None:
        checked.append(data)
        verify(key, data, headers, json_parse=json_parse)

    monkeypatch.setattr(Webhook, "verify", counted)
    headers = signed(b"{}", key="whsec_" + "A" * 40)
    trigger = incoming_webhook_trigger(signing_secrets=[secret(name) for name in secrets])
    assert isinstance(trigger, IncomingWebhookTrigger)
    for refused in (trigger, None):
        with pytest.raises(RefusedRequestError):
            check_signature("signed", refused, headers, b"{}")
        assert checked == ["{}", "{}"]
        checked.clear()


def test_errors_of_proof_are_not_those_for_clients_of_graphql() -> None:
    """They are answers of HTTP, and no error of ours that a resolver could show."""
    with pytest.raises(RefusedRequestError) as caught:
        check_path_secret("nobody", None, "guess")
    assert not isinstance(caught.value, GqlpluginError)
