"""Start durable workflows from typed Strawberry GraphQL resolvers."""

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from gqlplugin.app import App, Discovered, define_app, discover
from gqlplugin.auth import Auth, AuthInvoker, MachineUser, User, define_auth
from gqlplugin.errors import (
    AuthenticationUnavailableError,
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
    WaitTimedOutError,
)
from gqlplugin.executor import (
    Executor,
    FiringOutcome,
    IncomingWebhookArgs,
    RecordCreatedArgs,
    RecordDeletedArgs,
    RecordUpdatedArgs,
    ResolverError,
    ResolverExecutedArgs,
    ScheduleArgs,
    create_executor,
    function_operation,
    graphql_operation,
    incoming_webhook_trigger,
    record_created_trigger,
    record_deleted_trigger,
    record_updated_trigger,
    resolver_executed_trigger,
    schedule_trigger,
    workflow_operation,
)
from gqlplugin.job import JobContext, WorkflowJob, create_workflow_job
from gqlplugin.models.annotations import BigInt
from gqlplugin.platform.base import Platform
from gqlplugin.resolver import Resolver, ResolverContext, create_resolver
from gqlplugin.runs import (
    ConcurrencyPolicy,
    ExecutionStatus,
    JobExecution,
    JobStatus,
    RetryPolicy,
    WorkflowExecution,
)
from gqlplugin.secret import Secret, SecretRef, secret
from gqlplugin.wait_point import WaitPoint, define_wait_point, define_wait_points
from gqlplugin.workflow import Workflow, create_workflow, trigger_workflow

if TYPE_CHECKING:
    from gqlplugin.asgi import create_asgi, graphql_routes, lifespan, token_routes, webhook_routes
    from gqlplugin.authentication.callers import Authenticated, AuthRequest
    from gqlplugin.authentication.jwt import JWTAuthenticator
    from gqlplugin.authentication.tokens import RunTokens
    from gqlplugin.database import Database, define_database, get_db, publish
    from gqlplugin.executor.outgoing_webhook import webhook_operation
    from gqlplugin.graphql.extension import WorkflowExtension
    from gqlplugin.graphql.limits import Limits
    from gqlplugin.graphql.policy import CallerPolicy, RunPolicy
    from gqlplugin.graphql.schema import create_schema

__all__ = [
    "App",
    "Auth",
    "AuthInvoker",
    "AuthRequest",
    "Authenticated",
    "AuthenticationUnavailableError",
    "BigInt",
    "CallerPolicy",
    "ConcurrencyPolicy",
    "Database",
    "DefinitionError",
    "Discovered",
    "ExecutionStatus",
    "Executor",
    "FailedPreconditionError",
    "FiringOutcome",
    "ForbiddenError",
    "GqlpluginError",
    "IdempotencyKeyReusedError",
    "IncomingWebhookArgs",
    "InvalidInputError",
    "JWTAuthenticator",
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
    "RecordCreatedArgs",
    "RecordDeletedArgs",
    "RecordUpdatedArgs",
    "ReplayError",
    "Resolver",
    "ResolverContext",
    "ResolverError",
    "ResolverExecutedArgs",
    "RetryPolicy",
    "RunPolicy",
    "RunTokens",
    "ScheduleArgs",
    "Secret",
    "SecretRef",
    "UnauthenticatedError",
    "UnsupportedError",
    "User",
    "WaitPoint",
    "WaitTimedOutError",
    "Workflow",
    "WorkflowExecution",
    "WorkflowExtension",
    "WorkflowJob",
    "create_asgi",
    "create_executor",
    "create_resolver",
    "create_schema",
    "create_workflow",
    "create_workflow_job",
    "define_app",
    "define_auth",
    "define_database",
    "define_wait_point",
    "define_wait_points",
    "discover",
    "function_operation",
    "get_db",
    "graphql_operation",
    "graphql_routes",
    "incoming_webhook_trigger",
    "lifespan",
    "publish",
    "record_created_trigger",
    "record_deleted_trigger",
    "record_updated_trigger",
    "resolver_executed_trigger",
    "schedule_trigger",
    "secret",
    "token_routes",
    "trigger_workflow",
    "webhook_operation",
    "webhook_routes",
    "workflow_operation",
]

_ON_FIRST_USE = {
    "AuthRequest": "gqlplugin.authentication.callers",
    "Authenticated": "gqlplugin.authentication.callers",
    "CallerPolicy": "gqlplugin.graphql.policy",
    "Database": "gqlplugin.database",
    "JWTAuthenticator": "gqlplugin.authentication.jwt",
    "Limits": "gqlplugin.graphql.limits",
    "RunPolicy": "gqlplugin.graphql.policy",
    "RunTokens": "gqlplugin.authentication.tokens",
    "WorkflowExtension": "gqlplugin.graphql.extension",
    "create_asgi": "gqlplugin.asgi",
    "create_schema": "gqlplugin.graphql.schema",
    "define_database": "gqlplugin.database",
    "get_db": "gqlplugin.database",
    "graphql_routes": "gqlplugin.asgi",
    "lifespan": "gqlplugin.asgi",
    "publish": "gqlplugin.database",
    "token_routes": "gqlplugin.asgi",
    "webhook_operation": "gqlplugin.executor.outgoing_webhook",
    "webhook_routes": "gqlplugin.asgi",
}


_NAMES = tuple(__all__)
if not TYPE_CHECKING:
    del __all__  # `__getattr__` makes it when it is asked for: a name may need an extra that is not installed


def __getattr__(name: str) -> object:
    """What serves GraphQL, needs an extra, or sends requests: a process that runs workflows may do without."""
    if name == "__all__":
        return _found()
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_ON_FIRST_USE[name]), name)
    return value


def _found() -> list[str]:
    """The names that `from gqlplugin import *` brings: all but those whose extras are not installed."""
    found = []
    for name in _NAMES:
        with suppress(ModuleNotFoundError):
            if name not in globals():
                __getattr__(name)
            found.append(name)
    return found
