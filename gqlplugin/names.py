"""What names may look like (TAILOR.md section 2; GraphQL specification, section 2.1.9)."""

from __future__ import annotations

import re

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_GRAPHQL_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
_FIRING = "executor/"


def is_name(name: str) -> bool:
    """Whether this can name a workflow, a job or a machine user."""
    return _NAME.fullmatch(name) is not None


def is_graphql_name(name: str) -> bool:
    """Whether this can name a GraphQL field or type of an app."""
    return _GRAPHQL_NAME.fullmatch(name) is not None


def firing_name(executor_name: str) -> str:
    """The workflow name under which a platform keeps the firings of an executor; no workflow of a user can have it."""
    return f"{_FIRING}{executor_name}"


def executor_of(workflow_name: str) -> str | None:
    """The executor whose firings have this workflow name; None for a workflow."""
    return workflow_name.removeprefix(_FIRING) if workflow_name.startswith(_FIRING) else None


def is_startable_name(name: str) -> bool:
    """Whether this can name what a run is of: a workflow, or the firings of an executor."""
    return is_name(executor_of(name) or name)


def name_problem(kind: str, name: str) -> str:
    """What to say of a name that `is_name` refuses."""
    return (
        f"{kind} name {name!r} is not valid: use 3 to 63 lower-case letters, digits and hyphens, no hyphen at the ends"
    )


def pascal_case(name: str) -> str:
    """`order-processing`, `order_processing` or `orderProcessing` as `OrderProcessing`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", name))
