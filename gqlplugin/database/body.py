"""The database session of the resolver or job that is running."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncSession

from gqlplugin.database.definition import Database
from gqlplugin.errors import SetupError
from gqlplugin.platform.base import Definitions, current_job, find_binding
from gqlplugin.scope import current_scope
from gqlplugin.tasks import begin, result_of


class _BodySession:
    """A session that ends with its body."""

    def __init__(self, database: Database) -> None:
        self.session = database.session()

    @property
    def is_open(self) -> bool:
        return self.session.in_transaction()

    async def commit(self) -> None:
        await self.session.commit()

    async def close(self) -> None:
        # a body that is cancelled once more must not keep its connection
        await result_of(begin(self.session.close()))


def get_db(name: str) -> AsyncSession:
    """The session of the resolver or job that is running: the same at every call, made by the first.

    ```python
    order = await get_db("main").get(Order, order_id)
    order.status = "paid"
    await notify.trigger(order_id)  # the status is committed before the job starts
    ```

    In a job, what the body did is committed when it triggers something durable (a job or a workflow), and when it
    succeeds; it is rolled back when it fails. So a job whose body runs again after a crash finds what it had committed
    up to its last trigger.

    In a resolver, what the body did is committed when it succeeds, and rolled back when it fails. A workflow that it
    triggers meanwhile starts after the commit, and not at all after a rollback; see `Workflow.trigger`.

    Nothing needs to be committed by hand; `begin()` around a trigger in a job does not work. Objects stay readable
    after a commit (`expire_on_commit=False`).

    A session serves one task at a time: under `asyncio.gather`, give each its own, by `async with database.session()`.

    Args:
        name: As in `define_database`.

    Raises:
        SetupError: No resolver or job is running here, it is a plain function, or the app has no such
            database or is not running.
    """
    scope = current_scope()
    if scope is None:
        raise SetupError(
            f"get_db({name!r}) works in resolvers and jobs; elsewhere use `async with database.session() as session:`."
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise SetupError(
            f"get_db({name!r}) is called by a plain function, which can't await queries: write it as `async def`."
        ) from None
    database = _find(name)
    return scope.hold((_BodySession, database), lambda: _BodySession(database)).session


def _find(name: str) -> Database:
    definitions = _definitions()
    database = definitions.databases.get(name)
    if not isinstance(database, Database):
        known = ", ".join(map(repr, definitions.databases)) or "none"
        raise SetupError(
            f"App {definitions.name!r} has no database {name!r}, its databases are: {known}. "
            "Add it to define_app(databases=[...])."
        )
    return database


def _definitions() -> Definitions:
    if (job := current_job.get()) is not None:
        return job.definitions
    binding = find_binding()
    if binding is None or binding.definitions is None:
        raise SetupError("get_db finds no app: mount the resolvers with create_asgi(app, platform).")
    return binding.definitions
