"""Start durable workflows from typed Strawberry GraphQL resolvers."""

from importlib import import_module
from typing import TYPE_CHECKING

from gqlplugin.app import App, Discovered, define_app, discover
from gqlplugin.auth import Auth, AuthInvoker, MachineUser, User, define_auth
from gqlplugin.errors import (
    DefinitionError,
    FailedPreconditionError,
    ForbiddenError,
    GqlpluginError,
    IdempotencyKeyReusedError,
    InvalidInputError,
    JobFailedError,
    NotFoundError,
    OutcomeUnknownError,
    PlatformCredentialsError,
    PlatformNotBoundError,
    PlatformUnavailableError,
    ReplayError,
    UnauthenticatedError,
    UnsupportedError,
)
from gqlplugin.execution import (
    ConcurrencyPolicy,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    RetryPolicy,
    WorkflowExecution,
)
from gqlplugin.job import JobContext, WorkflowJob, create_workflow_job
from gqlplugin.models.shapes import BigInt
from gqlplugin.platform.base import Platform
from gqlplugin.resolver import Resolver, ResolverContext, create_resolver
from gqlplugin.workflow import Workflow, create_workflow, trigger_workflow

if TYPE_CHECKING:
    from gqlplugin.asgi import create_asgi, graphql_routes, lifespan
    from gqlplugin.graphql.extension import WorkflowExtension
    from gqlplugin.graphql.limits import Limits
    from gqlplugin.graphql.policy import CallerPolicy, RunPolicy
    from gqlplugin.graphql.schema import create_schema

__all__ = [
    "App",
    "Auth",
    "AuthInvoker",
    "BigInt",
    "CallerPolicy",
    "ConcurrencyPolicy",
    "DefinitionError",
    "Discovered",
    "ExecutionStatus",
    "FailedPreconditionError",
    "ForbiddenError",
    "GqlpluginError",
    "IdempotencyKeyReusedError",
    "InvalidInputError",
    "JobContext",
    "JobExecution",
    "JobFailedError",
    "JobStatus",
    "Limits",
    "MachineUser",
    "NotFoundError",
    "OutcomeUnknownError",
    "Platform",
    "PlatformCredentialsError",
    "PlatformNotBoundError",
    "PlatformUnavailableError",
    "ReplayError",
    "Resolver",
    "ResolverContext",
    "RetryPolicy",
    "RunPolicy",
    "UnauthenticatedError",
    "UnsupportedError",
    "User",
    "Workflow",
    "WorkflowExecution",
    "WorkflowExtension",
    "WorkflowJob",
    "create_asgi",
    "create_resolver",
    "create_schema",
    "create_workflow",
    "create_workflow_job",
    "define_app",
    "define_auth",
    "discover",
    "graphql_routes",
    "lifespan",
    "trigger_workflow",
]

_ON_FIRST_USE = {
    "CallerPolicy": "gqlplugin.graphql.policy",
    "Limits": "gqlplugin.graphql.limits",
    "RunPolicy": "gqlplugin.graphql.policy",
    "WorkflowExtension": "gqlplugin.graphql.extension",
    "create_asgi": "gqlplugin.asgi",
    "create_schema": "gqlplugin.graphql.schema",
    "graphql_routes": "gqlplugin.asgi",
    "lifespan": "gqlplugin.asgi",
}


def __getattr__(name: str) -> object:
    """The parts that serve GraphQL: a process that defines or runs workflows does without them."""
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_ON_FIRST_USE[name]), name)
    return value
