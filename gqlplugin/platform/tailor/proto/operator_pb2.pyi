import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PageDirection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAGE_DIRECTION_UNSPECIFIED: _ClassVar[PageDirection]
    PAGE_DIRECTION_ASC: _ClassVar[PageDirection]
    PAGE_DIRECTION_DESC: _ClassVar[PageDirection]

class FunctionErrorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FUNCTION_ERROR_KIND_UNSPECIFIED: _ClassVar[FunctionErrorKind]
    FUNCTION_ERROR_KIND_NONE: _ClassVar[FunctionErrorKind]
    FUNCTION_ERROR_KIND_USER_RUNTIME: _ClassVar[FunctionErrorKind]
    FUNCTION_ERROR_KIND_USER_NON_RUNTIME: _ClassVar[FunctionErrorKind]
    FUNCTION_ERROR_KIND_PLATFORM: _ClassVar[FunctionErrorKind]

class View(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VIEW_UNSPECIFIED: _ClassVar[View]
    VIEW_RUN: _ClassVar[View]
    VIEW_FULL: _ClassVar[View]
PAGE_DIRECTION_UNSPECIFIED: PageDirection
PAGE_DIRECTION_ASC: PageDirection
PAGE_DIRECTION_DESC: PageDirection
FUNCTION_ERROR_KIND_UNSPECIFIED: FunctionErrorKind
FUNCTION_ERROR_KIND_NONE: FunctionErrorKind
FUNCTION_ERROR_KIND_USER_RUNTIME: FunctionErrorKind
FUNCTION_ERROR_KIND_USER_NON_RUNTIME: FunctionErrorKind
FUNCTION_ERROR_KIND_PLATFORM: FunctionErrorKind
VIEW_UNSPECIFIED: View
VIEW_RUN: View
VIEW_FULL: View

class Filter(_message.Message):
    __slots__ = ("condition",)
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    AND_FIELD_NUMBER: _ClassVar[int]
    OR_FIELD_NUMBER: _ClassVar[int]
    condition: Condition
    def __init__(self, condition: _Optional[_Union[Condition, _Mapping]] = ..., **kwargs) -> None: ...

class Condition(_message.Message):
    __slots__ = ("field", "operator", "value")
    class Operator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OPERATOR_UNSPECIFIED: _ClassVar[Condition.Operator]
        OPERATOR_EQ: _ClassVar[Condition.Operator]
        OPERATOR_CONTAINS: _ClassVar[Condition.Operator]
        OPERATOR_GT: _ClassVar[Condition.Operator]
        OPERATOR_GE: _ClassVar[Condition.Operator]
        OPERATOR_LT: _ClassVar[Condition.Operator]
        OPERATOR_LE: _ClassVar[Condition.Operator]
        OPERATOR_NOT_CONTAINS: _ClassVar[Condition.Operator]
    OPERATOR_UNSPECIFIED: Condition.Operator
    OPERATOR_EQ: Condition.Operator
    OPERATOR_CONTAINS: Condition.Operator
    OPERATOR_GT: Condition.Operator
    OPERATOR_GE: Condition.Operator
    OPERATOR_LT: Condition.Operator
    OPERATOR_LE: Condition.Operator
    OPERATOR_NOT_CONTAINS: Condition.Operator
    FIELD_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    field: str
    operator: Condition.Operator
    value: _struct_pb2.Value
    def __init__(self, field: _Optional[str] = ..., operator: _Optional[_Union[Condition.Operator, str]] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class Application(_message.Message):
    __slots__ = ("name", "domain", "auth_namespace", "cors", "subgraphs", "create_time", "update_time", "url")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    AUTH_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CORS_FIELD_NUMBER: _ClassVar[int]
    SUBGRAPHS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    name: str
    domain: str
    auth_namespace: str
    cors: _containers.RepeatedScalarFieldContainer[str]
    subgraphs: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Struct]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    url: str
    def __init__(self, name: _Optional[str] = ..., domain: _Optional[str] = ..., auth_namespace: _Optional[str] = ..., cors: _Optional[_Iterable[str]] = ..., subgraphs: _Optional[_Iterable[_Union[_struct_pb2.Struct, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., url: _Optional[str] = ...) -> None: ...

class GetApplicationRequest(_message.Message):
    __slots__ = ("workspace_id", "application_name")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_NAME_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    application_name: str
    def __init__(self, workspace_id: _Optional[str] = ..., application_name: _Optional[str] = ...) -> None: ...

class GetApplicationResponse(_message.Message):
    __slots__ = ("application",)
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    application: Application
    def __init__(self, application: _Optional[_Union[Application, _Mapping]] = ...) -> None: ...

class ListApplicationsRequest(_message.Message):
    __slots__ = ("workspace_id", "page_token", "page_size", "page_direction")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_DIRECTION_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    page_token: str
    page_size: int
    page_direction: PageDirection
    def __init__(self, workspace_id: _Optional[str] = ..., page_token: _Optional[str] = ..., page_size: _Optional[int] = ..., page_direction: _Optional[_Union[PageDirection, str]] = ...) -> None: ...

class ListApplicationsResponse(_message.Message):
    __slots__ = ("applications", "next_page_token", "total_count")
    APPLICATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    applications: _containers.RepeatedCompositeFieldContainer[Application]
    next_page_token: str
    total_count: int
    def __init__(self, applications: _Optional[_Iterable[_Union[Application, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ...) -> None: ...

class Workflow(_message.Message):
    __slots__ = ("id", "name", "main_job_function_name", "job_functions", "created_at", "updated_at")
    class JobFunctionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAIN_JOB_FUNCTION_NAME_FIELD_NUMBER: _ClassVar[int]
    JOB_FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    main_job_function_name: str
    job_functions: _containers.ScalarMap[str, int]
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., main_job_function_name: _Optional[str] = ..., job_functions: _Optional[_Mapping[str, int]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetWorkflowByNameRequest(_message.Message):
    __slots__ = ("workspace_id", "workflow_name")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    workflow_name: str
    def __init__(self, workspace_id: _Optional[str] = ..., workflow_name: _Optional[str] = ...) -> None: ...

class GetWorkflowByNameResponse(_message.Message):
    __slots__ = ("workflow",)
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    workflow: Workflow
    def __init__(self, workflow: _Optional[_Union[Workflow, _Mapping]] = ...) -> None: ...

class GetWorkflowRequest(_message.Message):
    __slots__ = ("workspace_id", "workflow_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    workflow_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., workflow_id: _Optional[str] = ...) -> None: ...

class GetWorkflowResponse(_message.Message):
    __slots__ = ("workflow",)
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    workflow: Workflow
    def __init__(self, workflow: _Optional[_Union[Workflow, _Mapping]] = ...) -> None: ...

class ListWorkflowsRequest(_message.Message):
    __slots__ = ("workspace_id", "page_token", "page_size", "page_direction")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_DIRECTION_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    page_token: str
    page_size: int
    page_direction: PageDirection
    def __init__(self, workspace_id: _Optional[str] = ..., page_token: _Optional[str] = ..., page_size: _Optional[int] = ..., page_direction: _Optional[_Union[PageDirection, str]] = ...) -> None: ...

class ListWorkflowsResponse(_message.Message):
    __slots__ = ("workflows", "next_page_token", "total_count")
    WORKFLOWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    workflows: _containers.RepeatedCompositeFieldContainer[Workflow]
    next_page_token: str
    total_count: int
    def __init__(self, workflows: _Optional[_Iterable[_Union[Workflow, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ...) -> None: ...

class AuthInvoker(_message.Message):
    __slots__ = ("namespace", "machine_user_name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    MACHINE_USER_NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    machine_user_name: str
    def __init__(self, namespace: _Optional[str] = ..., machine_user_name: _Optional[str] = ...) -> None: ...

class TestStartWorkflowRequest(_message.Message):
    __slots__ = ("workspace_id", "workflow_id", "auth_invoker", "arg", "caller", "execution_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    AUTH_INVOKER_FIELD_NUMBER: _ClassVar[int]
    ARG_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    workflow_id: str
    auth_invoker: AuthInvoker
    arg: str
    caller: Caller
    execution_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., workflow_id: _Optional[str] = ..., auth_invoker: _Optional[_Union[AuthInvoker, _Mapping]] = ..., arg: _Optional[str] = ..., caller: _Optional[_Union[Caller, _Mapping]] = ..., execution_id: _Optional[str] = ...) -> None: ...

class TestStartWorkflowResponse(_message.Message):
    __slots__ = ("execution_id", "replayed")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    replayed: bool
    def __init__(self, execution_id: _Optional[str] = ..., replayed: _Optional[bool] = ...) -> None: ...

class StartWorkflowRequest(_message.Message):
    __slots__ = ("workspace_id", "workflow_id", "auth_invoker", "arg", "caller", "execution_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    AUTH_INVOKER_FIELD_NUMBER: _ClassVar[int]
    ARG_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    workflow_id: str
    auth_invoker: AuthInvoker
    arg: str
    caller: Caller
    execution_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., workflow_id: _Optional[str] = ..., auth_invoker: _Optional[_Union[AuthInvoker, _Mapping]] = ..., arg: _Optional[str] = ..., caller: _Optional[_Union[Caller, _Mapping]] = ..., execution_id: _Optional[str] = ...) -> None: ...

class StartWorkflowResponse(_message.Message):
    __slots__ = ("execution_id", "replayed")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    replayed: bool
    def __init__(self, execution_id: _Optional[str] = ..., replayed: _Optional[bool] = ...) -> None: ...

class TestResumeWorkflowRequest(_message.Message):
    __slots__ = ("workspace_id", "execution_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    execution_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., execution_id: _Optional[str] = ...) -> None: ...

class TestResumeWorkflowResponse(_message.Message):
    __slots__ = ("execution_id",)
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    def __init__(self, execution_id: _Optional[str] = ...) -> None: ...

class ResumeWorkflowExecutionRequest(_message.Message):
    __slots__ = ("workspace_id", "execution_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    execution_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., execution_id: _Optional[str] = ...) -> None: ...

class ResumeWorkflowExecutionResponse(_message.Message):
    __slots__ = ("execution_id",)
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    def __init__(self, execution_id: _Optional[str] = ...) -> None: ...

class WorkflowExecution(_message.Message):
    __slots__ = ("id", "workflow_name", "status", "job_executions", "started_at", "finished_at", "details")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[WorkflowExecution.Status]
        STATUS_PENDING: _ClassVar[WorkflowExecution.Status]
        STATUS_PENDING_RESUME: _ClassVar[WorkflowExecution.Status]
        STATUS_RUNNING: _ClassVar[WorkflowExecution.Status]
        STATUS_SUCCESS: _ClassVar[WorkflowExecution.Status]
        STATUS_FAILED: _ClassVar[WorkflowExecution.Status]
        STATUS_PENDING_RETRY: _ClassVar[WorkflowExecution.Status]
        STATUS_WAITING: _ClassVar[WorkflowExecution.Status]
    STATUS_UNSPECIFIED: WorkflowExecution.Status
    STATUS_PENDING: WorkflowExecution.Status
    STATUS_PENDING_RESUME: WorkflowExecution.Status
    STATUS_RUNNING: WorkflowExecution.Status
    STATUS_SUCCESS: WorkflowExecution.Status
    STATUS_FAILED: WorkflowExecution.Status
    STATUS_PENDING_RETRY: WorkflowExecution.Status
    STATUS_WAITING: WorkflowExecution.Status
    ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    JOB_EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    id: str
    workflow_name: str
    status: WorkflowExecution.Status
    job_executions: _containers.RepeatedCompositeFieldContainer[WorkflowJobExecution]
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    details: RunDetails
    def __init__(self, id: _Optional[str] = ..., workflow_name: _Optional[str] = ..., status: _Optional[_Union[WorkflowExecution.Status, str]] = ..., job_executions: _Optional[_Iterable[_Union[WorkflowJobExecution, _Mapping]]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., details: _Optional[_Union[RunDetails, _Mapping]] = ...) -> None: ...

class WorkflowJobExecution(_message.Message):
    __slots__ = ("id", "stacked_job_name", "status", "execution_id", "started_at", "finished_at", "details")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[WorkflowJobExecution.Status]
        STATUS_RUNNING: _ClassVar[WorkflowJobExecution.Status]
        STATUS_SUSPEND: _ClassVar[WorkflowJobExecution.Status]
        STATUS_SUCCESS: _ClassVar[WorkflowJobExecution.Status]
        STATUS_FAILED: _ClassVar[WorkflowJobExecution.Status]
        STATUS_WAITING: _ClassVar[WorkflowJobExecution.Status]
    STATUS_UNSPECIFIED: WorkflowJobExecution.Status
    STATUS_RUNNING: WorkflowJobExecution.Status
    STATUS_SUSPEND: WorkflowJobExecution.Status
    STATUS_SUCCESS: WorkflowJobExecution.Status
    STATUS_FAILED: WorkflowJobExecution.Status
    STATUS_WAITING: WorkflowJobExecution.Status
    ID_FIELD_NUMBER: _ClassVar[int]
    STACKED_JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    id: str
    stacked_job_name: str
    status: WorkflowJobExecution.Status
    execution_id: str
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    details: JobDetails
    def __init__(self, id: _Optional[str] = ..., stacked_job_name: _Optional[str] = ..., status: _Optional[_Union[WorkflowJobExecution.Status, str]] = ..., execution_id: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., details: _Optional[_Union[JobDetails, _Mapping]] = ...) -> None: ...

class GetWorkflowExecutionRequest(_message.Message):
    __slots__ = ("workspace_id", "execution_id", "view")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    execution_id: str
    view: View
    def __init__(self, workspace_id: _Optional[str] = ..., execution_id: _Optional[str] = ..., view: _Optional[_Union[View, str]] = ...) -> None: ...

class GetWorkflowExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: WorkflowExecution
    def __init__(self, execution: _Optional[_Union[WorkflowExecution, _Mapping]] = ...) -> None: ...

class ListWorkflowExecutionsRequest(_message.Message):
    __slots__ = ("workspace_id", "page_token", "page_size", "page_direction", "filter", "workflow_name", "view", "without_firings")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_DIRECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_FIRINGS_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    page_token: str
    page_size: int
    page_direction: PageDirection
    filter: Filter
    workflow_name: str
    view: View
    without_firings: bool
    def __init__(self, workspace_id: _Optional[str] = ..., page_token: _Optional[str] = ..., page_size: _Optional[int] = ..., page_direction: _Optional[_Union[PageDirection, str]] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., workflow_name: _Optional[str] = ..., view: _Optional[_Union[View, str]] = ..., without_firings: _Optional[bool] = ...) -> None: ...

class ListWorkflowExecutionsResponse(_message.Message):
    __slots__ = ("executions", "next_page_token", "total_count", "page_tokens")
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    executions: _containers.RepeatedCompositeFieldContainer[WorkflowExecution]
    next_page_token: str
    total_count: int
    page_tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, executions: _Optional[_Iterable[_Union[WorkflowExecution, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ..., page_tokens: _Optional[_Iterable[str]] = ...) -> None: ...

class FunctionErrorInfo(_message.Message):
    __slots__ = ("name", "message")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    message: str
    def __init__(self, name: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class FunctionExecution(_message.Message):
    __slots__ = ("id", "workspace_id", "script_name", "status", "logs", "started_at", "finished_at", "type", "result", "error", "error_kind", "details")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[FunctionExecution.Status]
        STATUS_SUCCESS: _ClassVar[FunctionExecution.Status]
        STATUS_FAILED: _ClassVar[FunctionExecution.Status]
        STATUS_RUNNING: _ClassVar[FunctionExecution.Status]
    STATUS_UNSPECIFIED: FunctionExecution.Status
    STATUS_SUCCESS: FunctionExecution.Status
    STATUS_FAILED: FunctionExecution.Status
    STATUS_RUNNING: FunctionExecution.Status
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[FunctionExecution.Type]
        TYPE_STANDARD: _ClassVar[FunctionExecution.Type]
        TYPE_JOB: _ClassVar[FunctionExecution.Type]
    TYPE_UNSPECIFIED: FunctionExecution.Type
    TYPE_STANDARD: FunctionExecution.Type
    TYPE_JOB: FunctionExecution.Type
    ID_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    SCRIPT_NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_KIND_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    id: str
    workspace_id: str
    script_name: str
    status: FunctionExecution.Status
    logs: str
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    type: FunctionExecution.Type
    result: str
    error: FunctionErrorInfo
    error_kind: FunctionErrorKind
    details: JobDetails
    def __init__(self, id: _Optional[str] = ..., workspace_id: _Optional[str] = ..., script_name: _Optional[str] = ..., status: _Optional[_Union[FunctionExecution.Status, str]] = ..., logs: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., type: _Optional[_Union[FunctionExecution.Type, str]] = ..., result: _Optional[str] = ..., error: _Optional[_Union[FunctionErrorInfo, _Mapping]] = ..., error_kind: _Optional[_Union[FunctionErrorKind, str]] = ..., details: _Optional[_Union[JobDetails, _Mapping]] = ...) -> None: ...

class GetFunctionExecutionRequest(_message.Message):
    __slots__ = ("workspace_id", "execution_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    execution_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., execution_id: _Optional[str] = ...) -> None: ...

class GetFunctionExecutionResponse(_message.Message):
    __slots__ = ("execution",)
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    execution: FunctionExecution
    def __init__(self, execution: _Optional[_Union[FunctionExecution, _Mapping]] = ...) -> None: ...

class ListFunctionExecutionsRequest(_message.Message):
    __slots__ = ("workspace_id", "page_token", "page_size", "page_direction", "filter", "sort_by")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_DIRECTION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SORT_BY_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    page_token: str
    page_size: int
    page_direction: PageDirection
    filter: Filter
    sort_by: str
    def __init__(self, workspace_id: _Optional[str] = ..., page_token: _Optional[str] = ..., page_size: _Optional[int] = ..., page_direction: _Optional[_Union[PageDirection, str]] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., sort_by: _Optional[str] = ...) -> None: ...

class ListFunctionExecutionsResponse(_message.Message):
    __slots__ = ("executions", "next_page_token", "total_count")
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    executions: _containers.RepeatedCompositeFieldContainer[FunctionExecution]
    next_page_token: str
    total_count: int
    def __init__(self, executions: _Optional[_Iterable[_Union[FunctionExecution, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ...) -> None: ...

class MachineUser(_message.Message):
    __slots__ = ("id", "name", "client_id", "client_secret", "attributes", "created_at", "updated_at", "attribute_map")
    class AttributeMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SECRET_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_MAP_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    client_id: str
    client_secret: str
    attributes: _containers.RepeatedScalarFieldContainer[str]
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    attribute_map: _containers.MessageMap[str, _struct_pb2.Value]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., client_id: _Optional[str] = ..., client_secret: _Optional[str] = ..., attributes: _Optional[_Iterable[str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attribute_map: _Optional[_Mapping[str, _struct_pb2.Value]] = ...) -> None: ...

class GetAuthMachineUserRequest(_message.Message):
    __slots__ = ("workspace_id", "auth_namespace", "name")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    AUTH_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    auth_namespace: str
    name: str
    def __init__(self, workspace_id: _Optional[str] = ..., auth_namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class GetAuthMachineUserResponse(_message.Message):
    __slots__ = ("machine_user",)
    MACHINE_USER_FIELD_NUMBER: _ClassVar[int]
    machine_user: MachineUser
    def __init__(self, machine_user: _Optional[_Union[MachineUser, _Mapping]] = ...) -> None: ...

class ListAuthMachineUsersRequest(_message.Message):
    __slots__ = ("workspace_id", "auth_namespace", "page_token", "page_size", "page_direction")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    AUTH_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_DIRECTION_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    auth_namespace: str
    page_token: str
    page_size: int
    page_direction: PageDirection
    def __init__(self, workspace_id: _Optional[str] = ..., auth_namespace: _Optional[str] = ..., page_token: _Optional[str] = ..., page_size: _Optional[int] = ..., page_direction: _Optional[_Union[PageDirection, str]] = ...) -> None: ...

class ListAuthMachineUsersResponse(_message.Message):
    __slots__ = ("machine_users", "next_page_token", "total_count")
    MACHINE_USERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    machine_users: _containers.RepeatedCompositeFieldContainer[MachineUser]
    next_page_token: str
    total_count: int
    def __init__(self, machine_users: _Optional[_Iterable[_Union[MachineUser, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ...) -> None: ...

class Caller(_message.Message):
    __slots__ = ("id", "type", "workspace_id", "attributes", "attribute_list")
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_LIST_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: str
    workspace_id: str
    attributes: str
    attribute_list: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., type: _Optional[str] = ..., workspace_id: _Optional[str] = ..., attributes: _Optional[str] = ..., attribute_list: _Optional[_Iterable[str]] = ...) -> None: ...

class ExecutionError(_message.Message):
    __slots__ = ("code", "message", "detail")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    detail: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("fraction", "message")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    fraction: float
    message: str
    def __init__(self, fraction: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class RunDetails(_message.Message):
    __slots__ = ("input", "output", "error", "caller", "invoker", "progress", "attempt", "depth", "created_at", "status")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    INVOKER_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    input: str
    output: str
    error: ExecutionError
    caller: Caller
    invoker: AuthInvoker
    progress: Progress
    attempt: int
    depth: int
    created_at: _timestamp_pb2.Timestamp
    status: str
    def __init__(self, input: _Optional[str] = ..., output: _Optional[str] = ..., error: _Optional[_Union[ExecutionError, _Mapping]] = ..., caller: _Optional[_Union[Caller, _Mapping]] = ..., invoker: _Optional[_Union[AuthInvoker, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., attempt: _Optional[int] = ..., depth: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[str] = ...) -> None: ...

class JobDetails(_message.Message):
    __slots__ = ("run_id", "place", "name", "input", "result", "error", "logs", "progress", "stacked_name", "status", "is_wait_point")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STACKED_NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    IS_WAIT_POINT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    place: str
    name: str
    input: str
    result: str
    error: ExecutionError
    logs: _containers.RepeatedScalarFieldContainer[str]
    progress: Progress
    stacked_name: str
    status: str
    is_wait_point: bool
    def __init__(self, run_id: _Optional[str] = ..., place: _Optional[str] = ..., name: _Optional[str] = ..., input: _Optional[str] = ..., result: _Optional[str] = ..., error: _Optional[_Union[ExecutionError, _Mapping]] = ..., logs: _Optional[_Iterable[str]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., stacked_name: _Optional[str] = ..., status: _Optional[str] = ..., is_wait_point: _Optional[bool] = ...) -> None: ...

class StartWorkflowsRequest(_message.Message):
    __slots__ = ("workspace_id", "workflow_id", "auth_invoker", "args", "caller")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_ID_FIELD_NUMBER: _ClassVar[int]
    AUTH_INVOKER_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    workflow_id: str
    auth_invoker: AuthInvoker
    args: _containers.RepeatedScalarFieldContainer[str]
    caller: Caller
    def __init__(self, workspace_id: _Optional[str] = ..., workflow_id: _Optional[str] = ..., auth_invoker: _Optional[_Union[AuthInvoker, _Mapping]] = ..., args: _Optional[_Iterable[str]] = ..., caller: _Optional[_Union[Caller, _Mapping]] = ...) -> None: ...

class StartWorkflowsResponse(_message.Message):
    __slots__ = ("execution_ids",)
    EXECUTION_IDS_FIELD_NUMBER: _ClassVar[int]
    execution_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, execution_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class CancelWorkflowExecutionRequest(_message.Message):
    __slots__ = ("workspace_id", "execution_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    execution_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., execution_id: _Optional[str] = ...) -> None: ...

class CancelWorkflowExecutionResponse(_message.Message):
    __slots__ = ("execution_id",)
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    def __init__(self, execution_id: _Optional[str] = ...) -> None: ...

class ResolveWaitPointRequest(_message.Message):
    __slots__ = ("workspace_id", "execution_id", "key", "result", "wait_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    WAIT_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    execution_id: str
    key: str
    result: str
    wait_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., execution_id: _Optional[str] = ..., key: _Optional[str] = ..., result: _Optional[str] = ..., wait_id: _Optional[str] = ...) -> None: ...

class ResolveWaitPointResponse(_message.Message):
    __slots__ = ("execution_id",)
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    def __init__(self, execution_id: _Optional[str] = ...) -> None: ...

class WaitPoint(_message.Message):
    __slots__ = ("id", "key", "payload", "execution", "since", "expires_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    key: str
    payload: str
    execution: WorkflowExecution
    since: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., key: _Optional[str] = ..., payload: _Optional[str] = ..., execution: _Optional[_Union[WorkflowExecution, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListWaitPointsRequest(_message.Message):
    __slots__ = ("workspace_id", "page_token", "page_size", "key", "execution_id", "workflow_name", "caller_id")
    WORKSPACE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_NAME_FIELD_NUMBER: _ClassVar[int]
    CALLER_ID_FIELD_NUMBER: _ClassVar[int]
    workspace_id: str
    page_token: str
    page_size: int
    key: str
    execution_id: str
    workflow_name: str
    caller_id: str
    def __init__(self, workspace_id: _Optional[str] = ..., page_token: _Optional[str] = ..., page_size: _Optional[int] = ..., key: _Optional[str] = ..., execution_id: _Optional[str] = ..., workflow_name: _Optional[str] = ..., caller_id: _Optional[str] = ...) -> None: ...

class ListWaitPointsResponse(_message.Message):
    __slots__ = ("wait_points", "next_page_token", "page_tokens")
    WAIT_POINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    wait_points: _containers.RepeatedCompositeFieldContainer[WaitPoint]
    next_page_token: str
    page_tokens: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, wait_points: _Optional[_Iterable[_Union[WaitPoint, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., page_tokens: _Optional[_Iterable[str]] = ...) -> None: ...
