"""Wait points: where a run waits until somebody answers (TAILOR.md section 5)."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from typing_extensions import TypeForm

from gqlplugin.checks import Source, caller_source, check_annotation, check_type
from gqlplugin.codec import JsonCodec, NotJsonError, encode, refused
from gqlplugin.errors import DefinitionError, FailedPreconditionError
from gqlplugin.platform.base import Platform, current_binding, current_job
from gqlplugin.runs import PendingWait, WaitFilter, wait_name
from gqlplugin.scope import commit_open

P = TypeVar("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


class WaitPoint(Generic[P, R]):
    """A place where runs wait. Made by `define_wait_point`.

    Attributes:
        name: Unique in the app.
        payload: Reads and writes what a run tells where it waits.
        result: Reads and writes what it is answered.
    """

    def __init__(self, name: str, *, payload: JsonCodec[P], result: JsonCodec[R], source: Source) -> None:
        self.name = name
        self.payload = payload
        self.result = result
        self.source = source

    def __repr__(self) -> str:
        return f"<WaitPoint {self.name!r}>"

    async def wait(self, payload: P, *, timeout: timedelta | None = None) -> R:
        """Wait, in a job, until somebody resolves this; the answer is recorded.

        Meanwhile the run is WAITING and is nothing but a row: the job's body is left, as in a crash, and runs again
        from its top when the answer is there. What it opened is closed by its `finally` blocks.

        Args:
            payload: What those who answer are told.
            timeout: How long to wait at most; for ever by default.

        Raises:
            WaitTimedOutError: Nobody answered in time.
            InvalidInputError: The payload doesn't fit.
            FailedPreconditionError: No job is running here, or it is a plain function.
            DefinitionError: The app does not have this wait point.
        """
        runtime = current_job.get()
        if runtime is None:
            raise FailedPreconditionError(f"Wait point {self.name!r} can only be waited at by a job.")
        if runtime.definitions.wait_points.get(self.name) is not self:
            raise DefinitionError(
                f"Wait point {self.name!r} is not registered in app {runtime.definitions.name!r}: "
                "add it to define_app(wait_points=[...])."
            )
        if timeout is not None and not isinstance(timeout, timedelta):
            raise TypeError(f"The time-out of wait point {self.name!r} is {timeout!r}: write timedelta(seconds=30).")
        if timeout is not None and timeout <= timedelta(0):
            raise ValueError(f"The time-out of wait point {self.name!r} must be above 0, not {timeout}.")
        arg = encode(
            f"The payload of wait point {self.name!r}",
            self.payload,
            payload,
            is_recorded=partial(runtime.has_recorded, wait_name(self.name)),
        )
        return self.result.load_accepted(await runtime.wait(self.name, arg, timeout))

    async def resolve(self, run_id: str, result: R | Callable[[P], R | Awaitable[R]]) -> None:
        """Answer a run that waits here; it goes on with the answer. Of several answers at once, one is taken.

        In a job this is done once: a replay leaves it out. In a resolver what was done in its session (`get_db`) is
        committed first, so that the run finds it.

        Args:
            run_id: The run.
            result: The answer, or a function that makes it of the payload.

        Raises:
            NotFoundError: There is no such run.
            FailedPreconditionError: It does not wait here, or has been answered already.
            InvalidInputError: The result doesn't fit.
            PlatformNotBoundError: No platform is bound here.
        """
        answer = partial(self._answer, current_binding().platform, run_id, result)
        runtime = current_job.get()
        if runtime is None:
            await commit_open()
            await answer()
        else:
            await runtime.once(f"resolve:{self.name}", json.dumps(run_id), answer)

    def encode_json(self, text: str) -> str:
        """The JSON text of an answer given as one, such as from another process: checked, and in our own form.

        Raises:
            InvalidInputError: It is not JSON, or doesn't fit.
        """
        try:
            return self.result.dump(self.result.load(text))
        except (ValidationError, NotJsonError) as error:
            raise refused(f"The result of wait point {self.name!r}", error) from None

    async def _answer(self, platform: Platform, run_id: str, result: R | Callable[[P], R | Awaitable[R]]) -> None:
        job_id = None
        if callable(result) and not isinstance(result, BaseModel):
            wait = await self._pending(platform, run_id)
            job_id = wait.job_id
            made = result(self.payload.load_accepted(wait.payload))
            result = await made if inspect.isawaitable(made) else made
        text = encode(f"The result of wait point {self.name!r}", self.result, result)
        await platform.resolve(run_id, self.name, text, job_id=job_id)

    async def _pending(self, platform: Platform, run_id: str) -> PendingWait:
        page = await platform.list_waits(WaitFilter(name=self.name, run_id=run_id), first=1)
        if page.waits:
            return page.waits[0]
        run = await platform.get_execution(run_id)
        raise FailedPreconditionError(f"Run {run_id!r} is {run.status}, and does not wait at {self.name!r}.")


def define_wait_point(name: str, *, payload: TypeForm[P], result: TypeForm[R]) -> WaitPoint[P, R]:
    """Define where runs wait for an answer, such as an approval.

    ```python
    approval = define_wait_point("approval", payload=ApprovalRequest, result=Decision)

    decision = await approval.wait(ApprovalRequest(total_cents=79900))     # in a job
    await approval.resolve(run_id, Decision(approved=True))                # anywhere
    ```

    Args:
        name: 3 to 63 lower-case letters, digits and hyphens, unique in the app. GraphQL gets `resolve<Name>`.
        payload: The type of what those who answer are told.
        result: The type of the answer.

    Raises:
        DefinitionError: The name is not text, or a type is a value.
    """
    source = caller_source()
    check_type(f"define_wait_point at {source}", "name", name, str, 'define_wait_point("approval", ...)')
    for one, type_ in (("payload", payload), ("result", result)):
        check_annotation(f"Wait point {name!r} at {source}", one, type_)
    return WaitPoint(name, payload=JsonCodec(payload), result=JsonCodec(result), source=source)


def define_wait_points(namespace: C) -> C:
    """Define several wait points as the attributes of a class.

    ```python
    @define_wait_points
    class Approvals:
        manager: WaitPoint[ApprovalRequest, Decision]
        legal_review: WaitPoint[Contract, Opinion]        # its name is "legal-review"

    await Approvals.manager.wait(...)
    ```

    Args:
        namespace: A class whose annotations are wait points.

    Raises:
        DefinitionError: It is not a class, or an annotation is something else.
    """
    source = caller_source()
    check_type(f"define_wait_points at {source}", "namespace", namespace, type, "a class with the wait points")
    for attribute, annotation in get_type_hints(namespace, include_extras=True).items():
        if get_origin(annotation) is not WaitPoint:
            raise DefinitionError(
                f"{namespace.__qualname__}.{attribute} at {source} must be annotated as WaitPoint[Payload, Result], "
                f"not as {annotation!r}."
            )
        payload, result = get_args(annotation)
        name = attribute.replace("_", "-")
        point: WaitPoint[Any, Any] = WaitPoint(
            name, payload=JsonCodec(payload), result=JsonCodec(result), source=source
        )
        setattr(namespace, attribute, point)
    return namespace
