"""Executors as users define them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gqlplugin.checks import check_function, check_type
from gqlplugin.executor.operation import Operation
from gqlplugin.executor.trigger import Trigger
from gqlplugin.source import Source, caller_source

A = TypeVar("A")

Condition = Callable[[A], bool | Awaitable[bool]]
"""Whether to act on some arguments."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Executor(Generic[A]):
    """Something that happens by itself. Made by `create_executor`."""

    name: str
    trigger: Trigger[A]
    operation: Operation[A]
    description: str
    disabled: bool
    condition: Condition[A] | None
    source: Source


def create_executor(
    name: str,
    *,
    trigger: Trigger[A],
    operation: Operation[A],
    description: str = "",
    disabled: bool = False,
    condition: Condition[A] | None = None,
) -> Executor[A]:
    """Define something that happens by itself (TAILOR.md section 6).

    ```python
    create_executor(
        "order-created",
        trigger=record_created_trigger(Order),
        condition=lambda args: args.new_record.total_cents > 0,
        operation=workflow_operation(order_processing, args=lambda args: OrderProcessing(order_id=args.new_record.id)),
    )
    ```

    Each firing is a run of its own: kept before it begins, gone on with after a crash, with a log and a record.

    Args:
        name: 3 to 63 lower-case letters, digits and hyphens, unique among the executors of the app.
        trigger: What it waits for; says what condition and operation get.
        operation: What it does then.
        description: For people.
        disabled: Nothing fires it.
        condition: Whether to do it. One that raises fails the firing, which is not tried again.

    Raises:
        DefinitionError: An argument is of another type.
    """
    source = caller_source()
    where = f"Executor {name!r} at {source}"
    check_type(where, "name", name, str, 'create_executor("order-created", ...)')
    check_type(where, "trigger", trigger, Trigger, 'a trigger, such as schedule_trigger("0 2 * * *")')
    check_type(where, "operation", operation, Operation, "an operation, such as workflow_operation(...)")
    check_type(where, "description", description, str, 'description="..."')
    check_type(where, "disabled", disabled, bool, "disabled=True")
    if condition is not None:
        check_function(where, "condition", condition, 1, "a function of the trigger's arguments that returns a bool")
    return Executor(
        name=name,
        trigger=trigger,
        operation=operation,
        description=description,
        disabled=disabled,
        condition=condition,
        source=source,
    )
