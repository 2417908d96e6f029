"""Start durable workflows from typed Strawberry GraphQL resolvers."""

from gqlplugin.app import App, Discovered, define_app, discover
from gqlplugin.asgi import create_asgi, graphql_routes, lifespan
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
from gqlplugin.graphql.extension import WorkflowExtension
from gqlplugin.graphql.limits import Limits
from gqlplugin.graphql.policy import CallerPolicy, RunPolicy
from gqlplugin.graphql.scalars import BigInt
from gqlplugin.graphql.schema import create_schema
from gqlplugin.job import JobContext, WorkflowJob, create_workflow_job
from gqlplugin.platform.base import Platform
from gqlplugin.resolver import Resolver, ResolverContext, create_resolver
from gqlplugin.workflow import Workflow, create_workflow, trigger_workflow

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
    "Platform",
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
