"""What names may look like (TAILOR.md section 2; GraphQL specification, section 2.1.9)."""

from __future__ import annotations

import re

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_GRAPHQL_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")


def is_name(name: str) -> bool:
    """Whether this can name a workflow, a job or a machine user."""
    return _NAME.fullmatch(name) is not None


def is_graphql_name(name: str) -> bool:
    """Whether this can name a GraphQL field or type of an app."""
    return _GRAPHQL_NAME.fullmatch(name) is not None


def name_problem(kind: str, name: str) -> str:
    """What to say of a name that `is_name` refuses."""
    return (
        f"{kind} name {name!r} is not valid: use 3 to 63 lower-case letters, digits and hyphens, no hyphen at the ends"
    )


def pascal_case(name: str) -> str:
    """`order-processing`, `order_processing` or `orderProcessing` as `OrderProcessing`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_]", name))
