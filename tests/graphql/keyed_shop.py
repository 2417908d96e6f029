"""Resolvers that start runs in every way there is, for the tests of idempotency keys."""

import asyncio
from functools import cache

import strawberry
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from gqlplugin.app import App, define_app
from gqlplugin.errors import InvalidInputError
from gqlplugin.executor import ResolverExecutedArgs, create_executor, function_operation, resolver_executed_trigger
from gqlplugin.graphql.schema import create_schema
from gqlplugin.job import create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.workflow import create_workflow, trigger_workflow


class Order(BaseModel):
    order_id: str = Field(min_length=1)


@create_workflow_job(name="pack")
async def pack(order: Order) -> str:
    return order.order_id


@create_workflow_job(name="ship")
async def ship(order: Order) -> str:
    return await packing.trigger(order)


packing = create_workflow(name="packing", main_job=pack)
shipping = create_workflow(name="shipping", main_job=ship)
guarded = create_workflow(name="guarded", main_job=pack, permission=lambda user, _: user.id == "admin")
tries = {"left": 0}


@create_resolver(name="place", operation="mutation")
async def place(ctx: ResolverContext[Order]) -> str:
    return await packing.trigger(ctx.input)


@create_resolver(name="replace", operation="mutation")
async def replace(ctx: ResolverContext[Order]) -> str:
    return await packing.trigger(ctx.input)


@create_resolver(name="placeTwice", operation="mutation")
async def place_twice(ctx: ResolverContext[Order]) -> list[str]:
    first = await packing.trigger(ctx.input)
    return [first, await trigger_workflow("packing", ctx.input)]


@create_resolver(name="placeOrFail", operation="mutation")
async def place_or_fail(ctx: ResolverContext[Order]) -> list[str]:
    first = await packing.trigger(ctx.input)
    if tries["left"]:
        tries["left"] -= 1
        raise InvalidInputError("Not yet.")
    return [first, await shipping.trigger(ctx.input)]


@create_resolver(name="placeInThread", operation="mutation")
def place_in_thread(ctx: ResolverContext[Order]) -> list[str]:
    return [packing.trigger_sync(ctx.input), asyncio.run(packing.trigger(ctx.input))]


@create_resolver(name="placeUnderOwnKey", operation="mutation")
async def place_under_own_key(ctx: ResolverContext[Order]) -> str:
    return await packing.trigger(ctx.input, idempotency_key=ctx.input.order_id)


@create_resolver(name="placeMany", operation="mutation")
async def place_many(ctx: ResolverContext[Order]) -> list[str]:
    return await packing.trigger_many([ctx.input, ctx.input])


@create_resolver(name="placeInSession", operation="mutation")
async def place_in_session(ctx: ResolverContext[Order]) -> str:
    async with AsyncSession() as session:
        return await packing.trigger(ctx.input, session=session)


@create_resolver(name="placeGuarded", operation="mutation")
async def place_guarded(ctx: ResolverContext[Order]) -> str:
    return await guarded.trigger(ctx.input)


@create_resolver(name="shipNow", operation="mutation")
async def ship_now(ctx: ResolverContext[Order]) -> str:
    return await shipping.trigger(ctx.input)


@create_resolver(name="placeQuietly", operation="mutation")
async def place_quietly(ctx: ResolverContext[Order]) -> bool:
    await packing.trigger(ctx.input)
    return True


@create_resolver(name="nothing", operation="mutation")
async def nothing(_: ResolverContext[None]) -> bool:
    return True


@create_resolver(name="greeting", operation="query")
async def greeting(_: ResolverContext[None]) -> str:
    return "Hello"


@strawberry.type(name="Mutation")
class PlainMutation:
    """Fields that `create_resolver` did not make."""

    @strawberry.mutation
    async def plain_place(self, order_id: str) -> str:
        return await packing.trigger(Order(order_id=order_id))


def hear(args: ResolverExecutedArgs[str]) -> str:
    return args.result or "failed"


def hear_nothing(_: ResolverExecutedArgs[bool]) -> None:
    """Do nothing."""


on_place = create_executor("on-place", trigger=resolver_executed_trigger(place), operation=function_operation(hear))
on_place_quietly = create_executor(
    "on-place-quietly", trigger=resolver_executed_trigger(place_quietly), operation=function_operation(hear_nothing)
)
on_nothing = create_executor(
    "on-nothing", trigger=resolver_executed_trigger(nothing), operation=function_operation(hear_nothing)
)


@cache
def keyed_shop() -> App:
    """The app."""
    return define_app(
        "keyed-shop",
        workflows=[packing, shipping, guarded],
        resolvers=[
            place,
            replace,
            place_twice,
            place_or_fail,
            place_in_thread,
            place_under_own_key,
            place_many,
            place_in_session,
            place_guarded,
            ship_now,
            place_quietly,
            nothing,
            greeting,
        ],
        executors=[on_place, on_place_quietly, on_nothing],
    )


@cache
def keyed_schema() -> strawberry.Schema:
    """Made once: it takes longer than most tests."""
    return create_schema(keyed_shop(), mutation=PlainMutation)
