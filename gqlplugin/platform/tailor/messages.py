"""The messages of the contract as JSON (TAILOR.md sections 1 and 2), read leniently.

Unknown fields are ignored, null is a field's default, names may be in camelCase or as in the proto file, and an enum is
a name or a number.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Json, model_validator
from pydantic.alias_generators import to_camel

EnumValue = int | str


def _moment(value: datetime | None) -> datetime | None:
    if value is None or value.year == 1:  # how Go writes a time that was never set
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Moment = Annotated[datetime | None, AfterValidator(_moment)]


class Message(BaseModel):
    """A message of the contract."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: object) -> object:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class InvokerMessage(Message):
    """The machine user that a run runs as."""

    namespace: str = ""
    machine_user_name: str = ""


class CallerMessage(Message):
    """Who started a run."""

    id: str = ""
    type: Literal["user", "machine_user", ""] = ""
    workspace_id: str = ""
    attributes: Json[dict[str, Any] | None] = None
    attribute_list: tuple[str, ...] = ()


class ErrorMessage(Message):
    """Why a run or a job failed."""

    code: str = ""
    message: str = ""
    detail: str | None = None


class ProgressMessage(Message):
    """How far a job says it is."""

    fraction: float = 0.0
    message: str | None = None


class RunDetails(Message):
    """What gqlplugin's server adds to a run."""

    input: str = "null"
    output: str | None = None
    error: ErrorMessage | None = None
    caller: CallerMessage | None = None
    invoker: InvokerMessage | None = None
    progress: ProgressMessage | None = None
    attempt: int = 0
    depth: int = 0
    created_at: Moment = None
    status: str = ""


class JobDetails(Message):
    """What gqlplugin's server adds to a job."""

    run_id: str = ""
    place: str = ""
    name: str = ""
    input: str = "null"
    result: str | None = None
    error: ErrorMessage | None = None
    logs: tuple[str, ...] = ()
    progress: ProgressMessage | None = None
    stacked_name: str = ""
    status: str = ""
    is_wait_point: bool = False


class JobMessage(Message):
    """A WorkflowJobExecution."""

    id: str = ""
    stacked_job_name: str = ""
    status: EnumValue = 0
    execution_id: str = ""
    started_at: Moment = None
    finished_at: Moment = None
    details: JobDetails | None = None


class RunMessage(Message):
    """A WorkflowExecution."""

    id: str
    workflow_name: str = ""
    status: EnumValue = 0
    job_executions: tuple[JobMessage, ...] = ()
    started_at: Moment = None
    finished_at: Moment = None
    details: RunDetails | None = None


class FunctionErrorMessage(Message):
    """Why a function execution failed; gqlplugin's own server used to send it as text."""

    name: str = ""
    message: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: object) -> object:
        return {"message": data} if isinstance(data, str) else data

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.name, self.message)))


class FunctionMessage(Message):
    """A FunctionExecution."""

    id: str = ""
    status: EnumValue = 0
    logs: str = ""
    started_at: Moment = None
    finished_at: Moment = None
    result: str = ""
    error: FunctionErrorMessage | None = None
    details: JobDetails | None = None


class WorkflowMessage(Message):
    """A Workflow."""

    id: str
    name: str
    main_job_function_name: str = ""
    job_functions: dict[str, int] = {}
    created_at: Moment = None
    updated_at: Moment = None


class ApplicationMessage(Message):
    """An Application."""

    name: str
    auth_namespace: str = ""
    url: str = ""


class MachineUserMessage(Message):
    """A MachineUser, without its client secret."""

    id: str = ""
    name: str
    client_id: str = ""
    attribute_map: dict[str, Any] = {}


class GetRunAnswer(Message):
    """The answer of GetWorkflowExecution."""

    execution: RunMessage


class ListRunsAnswer(Message):
    """The answer of ListWorkflowExecutions."""

    executions: tuple[RunMessage, ...] = ()
    next_page_token: str = ""
    total_count: int = 0
    page_tokens: tuple[str, ...] = ()


class ListFunctionsAnswer(Message):
    """The answer of ListFunctionExecutions, of which only the count is read."""

    total_count: int = 0


class GetFunctionAnswer(Message):
    """The answer of GetFunctionExecution."""

    execution: FunctionMessage


class StartedAnswer(Message):
    """The answer of TestStartWorkflow."""

    execution_id: str
    replayed: bool = False


class StartedAllAnswer(Message):
    """The answer of StartWorkflows."""

    execution_ids: tuple[str, ...]


class DoneAnswer(Message):
    """The answer of a method that has no more to say."""


class WaitMessage(Message):
    """A WaitPoint."""

    id: str
    key: str
    payload: str = "null"
    execution: RunMessage
    since: Moment = None
    expires_at: Moment = None


class ListWaitsAnswer(Message):
    """The answer of ListWaitPoints."""

    wait_points: tuple[WaitMessage, ...] = ()
    next_page_token: str = ""
    page_tokens: tuple[str, ...] = ()


class GetWorkflowAnswer(Message):
    """The answer of GetWorkflowByName."""

    workflow: WorkflowMessage


class ListWorkflowsAnswer(Message):
    """The answer of ListWorkflows."""

    workflows: tuple[WorkflowMessage, ...] = ()
    next_page_token: str = ""


class GetApplicationAnswer(Message):
    """The answer of GetApplication."""

    application: ApplicationMessage


class ListApplicationsAnswer(Message):
    """The answer of ListApplications."""

    applications: tuple[ApplicationMessage, ...] = ()
    next_page_token: str = ""


class ListMachineUsersAnswer(Message):
    """The answer of ListAuthMachineUsers."""

    machine_users: tuple[MachineUserMessage, ...] = ()
    next_page_token: str = ""
