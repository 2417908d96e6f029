"""The generated code of operator.proto."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gqlplugin.platform.tailor.proto import operator_pb2

PROTO = Path(operator_pb2.__file__).with_name("operator.proto")
ROOT = PROTO.parents[4]
GENERATED = ["operator_pb2.py", "operator_pb2.pyi", "operator_connect.py"]


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
