"""Executors: what starts by itself, on schedules, webhooks, and events (TAILOR.md section 6)."""

from typing import TYPE_CHECKING

from gqlplugin.executor.definition import Executor, create_executor
from gqlplugin.executor.operation import (
    FiringOutcome,
    FunctionOperation,
    GraphQLOperation,
    Operation,
    WorkflowOperation,
    function_operation,
    graphql_operation,
    workflow_operation,
)
from gqlplugin.executor.trigger import (
    IncomingWebhookArgs,
    IncomingWebhookTrigger,
    RecordCreatedArgs,
    RecordDeletedArgs,
    RecordUpdatedArgs,
    ResolverError,
    ResolverExecutedArgs,
    ResolverExecutedTrigger,
    ScheduleArgs,
    ScheduleTrigger,
    Trigger,
    incoming_webhook_trigger,
    record_created_trigger,
    record_deleted_trigger,
    record_updated_trigger,
    resolver_executed_trigger,
    schedule_trigger,
)

if TYPE_CHECKING:
    from gqlplugin.executor.outgoing_webhook import WebhookOperation, webhook_operation

__all__ = [
    "Executor",
    "FiringOutcome",
    "FunctionOperation",
    "GraphQLOperation",
    "IncomingWebhookArgs",
    "IncomingWebhookTrigger",
    "Operation",
    "RecordCreatedArgs",
    "RecordDeletedArgs",
    "RecordUpdatedArgs",
    "ResolverError",
    "ResolverExecutedArgs",
    "ResolverExecutedTrigger",
    "ScheduleArgs",
    "ScheduleTrigger",
    "Trigger",
    "WebhookOperation",
    "WorkflowOperation",
    "create_executor",
    "function_operation",
    "graphql_operation",
    "incoming_webhook_trigger",
    "record_created_trigger",
    "record_deleted_trigger",
    "record_updated_trigger",
    "resolver_executed_trigger",
    "schedule_trigger",
    "webhook_operation",
    "workflow_operation",
]


def __getattr__(name: str) -> object:
    """What sends webhooks: with it comes httpx, which an app without them need not load."""
    if name not in ("WebhookOperation", "webhook_operation"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gqlplugin.executor import outgoing_webhook as webhook  # noqa: PLC0415 - on first use

    return getattr(webhook, name)
