"""The names of what is told, for dashboards to rely on."""

from __future__ import annotations

SCOPE = "gqlplugin"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.37.0"

OPERATION_TYPE = "graphql.operation.type"
OPERATION_NAME = "graphql.operation.name"
ERROR_TYPE = "error.type"

WORKFLOW = "gqlplugin.workflow.name"
RUN_ID = "gqlplugin.run.id"
RUN_COUNT = "gqlplugin.run.count"
RUN_ATTEMPT = "gqlplugin.run.attempt"
RUN_FROM = "gqlplugin.run.from"
RUN_RECORDED = "gqlplugin.run.recorded"
RUN_STATUS = "gqlplugin.run.status"
JOB = "gqlplugin.job.name"
JOB_ID = "gqlplugin.job.id"
JOB_PLACE = "gqlplugin.job.place"
JOB_STATUS = "gqlplugin.job.status"
OUTCOME = "gqlplugin.outcome"

STARTED = "STARTED"
INTERRUPTED = "INTERRUPTED"
