"""Requests that schemathesis makes of a schema: whatever they ask, the answer is well formed and nothing breaks."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from gqlplugin.asgi import create_asgi
from gqlplugin.graphql.schema import create_schema
from gqlplugin.testing import MemoryPlatform, serve
from tests.graphql.test_guessing import define_post
from tests.graphql.test_validation import define_garden
from tests.rounds import rounds

APPS = {"garden": define_garden(), "post": define_post()}
"""Their resolvers break for no input."""

CODES = {
    "BAD_REQUEST",
    "BAD_USER_INPUT",
    "FAILED_PRECONDITION",
    "FORBIDDEN",
    "GRAPHQL_PARSE_FAILED",
    "GRAPHQL_VALIDATION_FAILED",
    "LIMIT_EXCEEDED",
    "NOT_FOUND",
    "OPERATION_RESOLUTION_FAILURE",
    "UNAUTHENTICATED",
}
EXCEPTION_TEXT = re.compile(r"Traceback|\w(Error|Exception)\b|object at 0x|site-packages")
PIECES = [
    "",
    "{",
    "}",
    "x",
    "1e400",
    "$v",
    "null",
    '"',
    "...F",
    "@skip(if: 1)",
    "(a: [])",
    "\0",
    "__typename",
    "9" * 400,
]

texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=8,
)


def broken(document: str, chance: random.Random) -> str:
    """A document with a mistake."""
    place = chance.randrange(len(document) + 1)
    return document[:place] + chance.choice(PIECES) + document[place + chance.randrange(4) :]


def documents(name: str) -> st.SearchStrategy[str]:
    """Operations that fit the schema of an app, and some that nearly do."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.graphql.from_dict(create_schema(APPS[name]).introspect())
    every = [one.ok().as_strategy() for one in schema.get_all_operations()]
    valid: st.SearchStrategy[str] = st.one_of(every).map(lambda case: str(case.body))
    return st.one_of(valid, st.builds(broken, valid, st.randoms(use_true_random=False)))


class Endpoint:
    """An app that is served in one profile."""

    def __init__(self, runner: asyncio.Runner, name: str, *, debug: bool) -> None:
        self._runner = runner
        self._stack = AsyncExitStack()
        asgi = create_asgi(APPS[name], MemoryPlatform(), authenticate=None, debug=debug, execute=False)
        self._client = runner.run(self._stack.enter_async_context(serve(asgi)))
        self.name = name

    def close(self) -> None:
        self._runner.run(self._stack.aclose())

    def post(self, request: object) -> httpx.Response:
        accept = {"accept": "application/graphql-response+json, application/json;q=0.9"}
        return self._runner.run(self._client.http.post("/graphql", json=request, headers=accept))


@pytest.fixture(params=[(name, debug) for name in APPS for debug in (False, True)], ids=str)
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    name, debug = request.param
    with asyncio.Runner() as runner:
        endpoint = Endpoint(runner, name, debug=debug)
        yield endpoint
        endpoint.close()


@pytest.mark.slow
@pytest.mark.rounds
def test_no_generated_request_breaks_anything(endpoint: Endpoint) -> None:
    """No 5xx, no internal error, no text of an exception; an answer has data, or errors that each have a known code."""

    @seed(23)
    @settings(max_examples=rounds(1_500, few=60), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(documents(endpoint.name), st.one_of(st.none(), st.dictionaries(st.sampled_from(["v", "x"]), json_values)))
    def check(document: str, variables: object) -> None:
        response = endpoint.post({"query": document, "variables": variables})
        assert response.status_code in (200, 400), response.text
        body = response.json()
        assert set(body) <= {"data", "errors", "extensions"}
        assert "data" in body or body["errors"]
        for error in body.get("errors", ()):
            assert isinstance(error["message"], str)
            assert error["message"]
            assert error["extensions"]["code"] in CODES, error
        assert not EXCEPTION_TEXT.search(json.dumps(body.get("errors", []))), body

    check()
