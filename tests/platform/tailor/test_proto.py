"""The generated code of operator.proto."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto

from gqlplugin.platform.tailor.proto import operator_pb2

PROTO = Path(operator_pb2.__file__).with_name("operator.proto")
ROOT = PROTO.parents[4]
GENERATED = ["operator_pb2.py", "operator_pb2.pyi", "operator_connect.py"]
LISTED = "workspace_id=1 page_token=2 page_size=3 page_direction=4"
EXECUTION = "workspace_id=1 execution_id=2"
CONTRACT = {
    "Application": "name=1 domain=2 auth_namespace=3 cors=4 subgraphs=5 create_time=8 update_time=9 url=10",
    "GetApplicationRequest": "workspace_id=1 application_name=2",
    "GetApplicationResponse": "application=1",
    "ListApplicationsRequest": LISTED,
    "ListApplicationsResponse": "applications=1 next_page_token=2 total_count=3",
    "GetWorkflowByNameRequest": "workspace_id=1 workflow_name=2",
    "GetWorkflowByNameResponse": "workflow=1",
    "GetWorkflowRequest": "workspace_id=1 workflow_id=2",
    "GetWorkflowResponse": "workflow=1",
    "ListWorkflowsRequest": LISTED,
    "ListWorkflowsResponse": "workflows=1 next_page_token=2 total_count=3",
    "Workflow": "id=1 name=2 main_job_function_name=3 job_functions=4 created_at=5 updated_at=6",
    "TestStartWorkflowRequest": "workspace_id=1 workflow_id=2 auth_invoker=3 arg=4",
    "TestStartWorkflowResponse": "execution_id=1",
    "StartWorkflowRequest": "workspace_id=1 workflow_id=2 auth_invoker=3 arg=4",
    "StartWorkflowResponse": "execution_id=1",
    "TestResumeWorkflowRequest": EXECUTION,
    "TestResumeWorkflowResponse": "execution_id=1",
    "ResumeWorkflowExecutionRequest": EXECUTION,
    "ResumeWorkflowExecutionResponse": "execution_id=1",
    "AuthInvoker": "namespace=1 machine_user_name=2",
    "GetWorkflowExecutionRequest": EXECUTION,
    "GetWorkflowExecutionResponse": "execution=1",
    "ListWorkflowExecutionsRequest": f"{LISTED} filter=5 workflow_name=6",
    "ListWorkflowExecutionsResponse": "executions=1 next_page_token=2 total_count=3",
    "WorkflowExecution": "id=1 workflow_name=2 status=3 job_executions=4 started_at=5 finished_at=6",
    "WorkflowJobExecution": "id=1 stacked_job_name=2 status=3 execution_id=4 started_at=5 finished_at=6",
    "GetFunctionExecutionRequest": EXECUTION,
    "GetFunctionExecutionResponse": "execution=1",
    "ListFunctionExecutionsRequest": f"{LISTED} filter=5 sort_by=6",
    "ListFunctionExecutionsResponse": "executions=1 next_page_token=2 total_count=3",
    "FunctionExecution": "id=1 workspace_id=2 script_name=3 status=4 logs=5 started_at=6 finished_at=7 type=8 result=9 "
    "error=10 error_kind=11",
    "FunctionErrorInfo": "name=1 message=2",
    "Filter": "condition=1 and=2 or=3",
    "Condition": "field=1 operator=2 value=3",
    "MachineUser": "id=1 name=2 client_id=3 client_secret=4 attributes=5 created_at=6 updated_at=7 attribute_map=8",
    "GetAuthMachineUserRequest": "workspace_id=1 auth_namespace=2 name=3",
    "GetAuthMachineUserResponse": "machine_user=1",
    "ListAuthMachineUsersRequest": "workspace_id=1 auth_namespace=2 page_token=3 page_size=4 page_direction=5",
    "ListAuthMachineUsersResponse": "machine_users=1 next_page_token=2 total_count=3",
}
"""The vendor's messages, each with its fields and their numbers, with those that newer versions added."""
RESERVED = {"Workflow": {7, 8}}
"""Numbers that the vendor uses for what is not known here."""
OWN_FIELDS_FROM = 1000


@pytest.mark.parametrize("name", CONTRACT)
def test_the_vendors_numbers_are_the_vendors(name: str) -> None:
    """Below 1000 a message of the contract has the vendor's fields at the vendor's numbers, and none of our own."""
    message = operator_pb2.DESCRIPTOR.message_types_by_name[name]
    theirs = [f"{field.name}={field.number}" for field in message.fields if field.number < OWN_FIELDS_FROM]
    assert theirs == CONTRACT[name].split()
    proto = DescriptorProto()
    message.CopyToProto(proto)
    assert {number for one in proto.reserved_range for number in range(one.start, one.end)} == RESERVED.get(name, set())


def test_our_messages_are_apart() -> None:
    """A message that the contract does not have is used by our own fields and methods alone."""
    own = {message.name for message in operator_pb2.DESCRIPTOR.message_types_by_name.values()} - CONTRACT.keys()
    used = {
        field.message_type.name
        for name in CONTRACT
        for field in operator_pb2.DESCRIPTOR.message_types_by_name[name].fields
        if field.message_type is not None and field.number < OWN_FIELDS_FROM
    }
    assert not used & own


@pytest.mark.slow
def test_generated_code_has_not_drifted(tmp_path: Path) -> None:
    """What `make proto` makes of operator.proto is what is checked in."""
    scripts = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable,
            *("-m", "grpc_tools.protoc", "-I", "."),
            *(f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "connectrpc")),
            "--connectrpc_opt=protobuf=google,io=async",
            str(PROTO.relative_to(ROOT)),
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"},
        check=True,
    )
    made = tmp_path / PROTO.parent.relative_to(ROOT)
    for name in GENERATED:
        assert (made / name).read_text() == (PROTO.parent / name).read_text(), name
    assert sorted(path.name for path in made.iterdir()) == sorted(GENERATED)
