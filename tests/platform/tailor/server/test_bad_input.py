"""What each method refuses, and how."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from tests.platform.tailor.server.support import METHODS, UNKNOWN, Served, http_client, request_of

pytestmark = pytest.mark.anyio

NO_UUIDS = ["", "x", "{7a52c0f3-7a5c-4f0e-9d6a-0a8f5c1b2d3e}", "7a52c0f37a5c4f0e9d6a0a8f5c1b2d3e", UNKNOWN + "\n"]
BAD_NAMES = ["", "a", "Greet", "greet_it", "-greet", "g" * 64, "greet\n"]


def condition(field: str, value: object = "x", operator: str = "OPERATOR_EQ") -> dict[str, Any]:
    return {"filter": {"condition": {"field": field, "operator": operator, "value": value}}}


ID_FIELDS = {
    "GetWorkflow": "workflowId",
    "StartWorkflow": "workflowId",
    "TestStartWorkflow": "workflowId",
    "ResumeWorkflowExecution": "executionId",
    "TestResumeWorkflow": "executionId",
    "GetWorkflowExecution": "executionId",
    "GetFunctionExecution": "executionId",
}
"""Each method that takes an ID, and the field it takes it in."""

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    *(
        (method, {field: text}, "invalid_argument", f"{field} must be a UUID.")
        for method, field in ID_FIELDS.items()
        for text in NO_UUIDS
    ),
    *((method, {field: UNKNOWN}, "not_found", f"'{UNKNOWN}' not found.") for method, field in ID_FIELDS.items()),
    *(("GetWorkflowByName", {"workflowName": name}, "invalid_argument", "workflowName") for name in BAD_NAMES),
    ("GetWorkflowByName", {"workflowName": "no-such"}, "not_found", "Workflow 'no-such' not found."),
    ("GetApplication", {"applicationName": "other"}, "not_found", "Application 'other' not found."),
    ("GetApplication", {}, "not_found", "Application '' not found."),
    ("GetAuthMachineUser", {"authNamespace": "my-auth", "name": "no"}, "not_found", "Machine user 'no' not found."),
    ("GetAuthMachineUser", {"authNamespace": "no", "name": "manager"}, "not_found", "Auth namespace 'no' not found."),
    ("ListAuthMachineUsers", {}, "not_found", "Auth namespace '' not found."),
    ("ListAuthMachineUsers", {"authNamespace": "my-auth", "pageToken": "x"}, "invalid_argument", "pageToken"),
    *(
        (method, {**more, "pageToken": token}, "invalid_argument", "pageToken is not of this listing")
        for method, more in (
            ("ListApplications", {}),
            ("ListWorkflows", {}),
            ("ListWorkflowExecutions", {}),
            ("ListFunctionExecutions", condition("id", UNKNOWN)),
            ("ListFunctionExecutions", {}),
        )
        for token in ("x", "é", "AAAA", "A" * 64, "====")
    ),
    *(
        ("ListWorkflowExecutions", condition(field), "invalid_argument", f"{field!r} is not supported: use 'id', ")
        for field in ("", "name", "workflowName", "started_at")
    ),
    *(
        ("ListWorkflowExecutions", condition("workflow_name", operator=operator), "invalid_argument", "EQ only")
        for operator in ("OPERATOR_UNSPECIFIED", "OPERATOR_CONTAINS", "OPERATOR_GT", "OPERATOR_NOT_CONTAINS")
    ),
    *(
        ("ListWorkflowExecutions", condition("status", value), "invalid_argument", "'status' needs one of PENDING, ")
        for value in ("running", "UNSPECIFIED", "", "STATUS_STATUS_RUNNING", 0, 8, -1, 3.5, 1e300, None, True, [3])
    ),
    *(
        ("ListWorkflowExecutions", condition(field, value), "invalid_argument", f"{field!r} needs a string")
        for field in ("workflow_name", "id", "caller_id")
        for value in (1, None, ["a"], {"a": "b"})
    ),
    ("ListWorkflowExecutions", condition("id"), "invalid_argument", "'id' needs a UUID"),
    ("ListWorkflowExecutions", {"filter": {"or": [{}]}}, "invalid_argument", "filter.or is not supported"),
    ("ListWorkflowExecutions", {"filter": {"and": [{"or": [{}]}]}}, "invalid_argument", "filter.or is not supported"),
    ("ListFunctionExecutions", condition("script_name"), "invalid_argument", "not supported: use 'id'."),
    ("ListFunctionExecutions", condition("id", UNKNOWN, "OPERATOR_GE"), "invalid_argument", "EQ only"),
    ("ListFunctionExecutions", condition("id", "x"), "invalid_argument", "'id' needs a UUID"),
]

STATUSES = {"invalid_argument": 400, "not_found": 404}


@pytest.mark.parametrize("method", METHODS)
async def test_refusals(served: Served, method: str) -> None:
    """A method that refuses names the field in JSON's spelling and says what would do, in both codecs."""
    for name, message, code, words in CASES:
        if name != method:
            continue
        for client in (served.client, served.binary):
            reply = await client.call(method, message)
            assert (reply.code, reply.status) == (code, STATUSES[code]), message
            assert words in reply.message, message


@pytest.mark.parametrize("method", METHODS)
async def test_workspaces(served: Served, method: str) -> None:
    """Every method wants the UUID of a workspace."""
    for workspace in NO_UUIDS:
        reply = await served.client.call(method, {"workspaceId": workspace})
        assert (reply.status, reply.message) == (400, "workspaceId must be a UUID.")


@pytest.mark.parametrize("method", METHODS)
async def test_bodies_that_are_none(served: Served, method: str) -> None:
    """A body that can't be decoded is the client's error, in both codecs."""
    bodies: list[tuple[str, bytes]] = [
        ("application/json", b"{"),
        ("application/json", b""),
        ("application/json", b"[]"),
        ("application/json", b"null"),
        ("application/json", b'{"workspaceId": 1}'),
        ("application/json", b'{"workspaceId": "\\ud800"}'),
        ("application/json", b"\xff"),
        ("application/json", b'{"filter":' * 2000),
        ("application/proto", b"\xff"),
        ("application/proto", b"\x0a\x01\xff"),
    ]
    async with http_client(served.port) as http:
        for content_type, body in bodies:
            response = await http.post(
                f"/tailor.v1.OperatorService/{method}", content=body, headers={"content-type": content_type}
            )
            assert (response.status_code, response.json()["code"]) == (400, "invalid_argument"), body


async def test_deep_filters(served: Served) -> None:
    """A filter that is nested deeper than anybody writes is refused, and not run into."""
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"and": [deep]}
    assert (await served.client.call("ListWorkflowExecutions", {"filter": deep})).code == "invalid_argument"
    message = ParseDict({}, request_of("ListWorkflowExecutions"))
    assert message.SerializeToString() == b""


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("text/plain", 415),
        ("", 415),
        ("application/grpc", 415),
        ("application/grpc+proto", 415),
        ("application/connect+json", 415),
    ],
)
async def test_content_types(served: Served, content_type: str, status: int) -> None:
    """Only the unary codecs of Connect are spoken; anything else is told which."""
    body = b'{"workspaceId": "%s"}' % UNKNOWN.encode()
    async with http_client(served.port) as http:
        response = await http.post(
            "/tailor.v1.OperatorService/ListWorkflows", content=body, headers={"content-type": content_type}
        )
    assert response.status_code == status
    if status == 415:
        assert response.json()["code"] == "unimplemented"
        assert response.headers["accept-post"] == "application/json, application/proto"


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_other_verbs(served: Served, verb: str) -> None:
    """A method is called by POST only, so that no request stays in a log or a cache."""
    async with http_client(served.port) as http:
        response = await http.request(verb, "/tailor.v1.OperatorService/ListWorkflows?message=%7B%7D&encoding=json")
    assert (response.status_code, response.json()["code"]) == (405, "unimplemented")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path",
    [
        "/tailor.v1.OperatorService/NoSuchMethod",
        "/tailor.v1.OperatorService/ListWorkflows/",
        "/tailor.v1.OperatorService/ListWorkflows/x",
        "/tailor.v1.OperatorService/listWorkflows",
        "/tailor.v1.OperatorService/",
        "/tailor.v1.OperatorService",
        "/tailor.v1.OtherService/ListWorkflows",
        "/healthz/",
        "/",
    ],
)
async def test_unknown_paths(served: Served, path: str) -> None:
    """What is not there is answered by a Connect error, and by no redirect."""
    async with http_client(served.port) as http:
        response = await http.post(path, json={})
    assert (response.status_code, response.json()["code"]) == (404, "unimplemented")


async def test_health(served: Served) -> None:
    """Whoever asks whether the server is up needs no token."""
    async with http_client(served.port, token="") as http:
        response = await http.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
