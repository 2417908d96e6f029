"""GraphQL over HTTP and WebSocket: an ASGI app, and its pieces for an app of your own."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from inspect import isawaitable
from typing import Any, cast

from cross_web import AsyncHTTPRequestAdapter, HTTPException
from graphql import GraphQLError
from pydantic_core import from_json, to_json
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import MissingQueryError
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.schema import BaseSchema
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult

from gqlplugin.app import App
from gqlplugin.errors import GqlpluginError, UnauthenticatedError
from gqlplugin.graphql.errors import extensions_of, internal_error
from gqlplugin.graphql.extension import CONTEXT_KEY, WorkflowExtension
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.schema import create_schema
from gqlplugin.identity import User
from gqlplugin.platform.base import Binding, Platform
