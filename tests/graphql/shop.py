"""A small app, for the tests of the GraphQL layer."""

from functools import cache
from typing import Literal

import strawberry
from graphql import GraphQLError
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from strawberry.permission import BasePermission

from gqlplugin.app import App, define_app
from gqlplugin.auth import define_auth
from gqlplugin.errors import JobFailedError, PlatformUnavailableError
from gqlplugin.graphql.schema import create_schema
from gqlplugin.job import JobContext, create_workflow_job
from gqlplugin.resolver import ResolverContext, create_resolver
from gqlplugin.workflow import create_workflow

SECRET = "postgres://admin:hunter2@db.internal/shop"  # noqa: S105 - what must not leak


class Order(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    order_id: str
    amount: int = 1


class Receipt(BaseModel):
    order_id: str
    total: int


class NewOrder(BaseModel):
    order_id: str = Field(min_length=1)
    amount: int = Field(default=1, ge=1)


class Started(BaseModel):
    run_id: str


class Kind(BaseModel):
    kind: str


@create_workflow_job(name="price-order")
async def price_order(order: Order, ctx: JobContext) -> int:
    ctx.log.info("pricing %s", order.order_id)
    ctx.progress(0.5, "pricing")
    return order.amount * 10


@create_workflow_job(name="process-order")
async def process_order(order: Order, ctx: JobContext) -> Receipt:
    ctx.progress(0.25, "started")
    return Receipt(order_id=order.order_id, total=await price_order.trigger(order))


stock = {"is_empty": True}


@create_workflow_job(name="take-stock")
async def take_stock() -> None:
    if stock["is_empty"]:
        raise JobFailedError("The stock is empty.")


@create_workflow_job(name="summarise")
async def summarise(words: dict[str, int]) -> tuple[int, str]:
    return sum(words.values()), " ".join(words)


order_processing = create_workflow(name="order-processing", main_job=process_order)
stock_taking = create_workflow(name="stock-taking", main_job=take_stock)
summary = create_workflow(name="summary", main_job=summarise)
elsewhere = create_workflow(name="elsewhere", input=Order)
guarded = create_workflow(name="guarded", main_job=take_stock, permission=lambda user, _: not user.is_anonymous)

auth = define_auth("shop-auth", Literal["clerk"])


@create_resolver(name="placeOrder", operation="mutation", description="Place an order")
async def place_order(ctx: ResolverContext[NewOrder]) -> Started:
    order = Order(order_id=ctx.input.order_id, amount=ctx.input.amount)
    return Started(run_id=await order_processing.trigger(order, auth_invoker="clerk"))


@create_resolver(name="takeStock", operation="mutation")
async def start_stock_taking(ctx: ResolverContext[None]) -> Started:
    return Started(run_id=await stock_taking.trigger())


@create_resolver(name="summarise", operation="mutation")
async def start_summary(ctx: ResolverContext[None]) -> Started:
    return Started(run_id=await summary.trigger({"a": 1, "b": 2}))


@create_resolver(name="startGuarded", operation="mutation")
async def start_guarded(ctx: ResolverContext[None]) -> Started:
    return Started(run_id=await guarded.trigger())


@create_resolver(name="whoAmI", operation="query")
async def who_am_i(ctx: ResolverContext[None]) -> str:
    return ctx.user.id


@create_resolver(name="noop", operation="mutation")
async def noop(ctx: ResolverContext[None]) -> bool:
    return True


class RefusedError(PermissionError):
    pass


class Never(BasePermission):
    message = "Only for admins"

    def has_permission(self, source: object, info: strawberry.Info, **kwargs: object) -> bool:
        return False


class NeverWithCode(Never):
    error_extensions = {"code": "NEEDS_PLAN"}  # noqa: RUF012 - Strawberry's own declaration


class NeverWithError(Never):
    def on_unauthorized(self) -> None:
        raise RefusedError(SECRET)


@create_resolver(name="fail", operation="query")
async def fail(ctx: ResolverContext[Kind]) -> int:
    match ctx.input.kind:
        case "secret":
            raise RuntimeError(f"can't connect to {SECRET}")
        case "deliberate":
            raise GraphQLError("Out of stock", extensions={"code": "OUT_OF_STOCK"})
        case "unavailable":
            raise PlatformUnavailableError
        case "huge":
            return 2**40
    raise KeyError(ctx.input.kind)


@create_resolver(name="admin", operation="query", permission_classes=[Never])
async def admin(ctx: ResolverContext[None]) -> int:
    return 1


@create_resolver(name="paid", operation="query", permission_classes=[NeverWithCode])
async def paid(ctx: ResolverContext[None]) -> int:
    return 1


@create_resolver(name="odd", operation="query", permission_classes=[NeverWithError])
async def odd(ctx: ResolverContext[None]) -> int:
    return 1


@cache
def define_shop() -> App:
    return define_app(
        "shop",
        auth=auth,
        workflows=[order_processing, stock_taking, summary, elsewhere, guarded],
        resolvers=[
            place_order,
            start_stock_taking,
            start_summary,
            start_guarded,
            who_am_i,
            noop,
            fail,
            admin,
            paid,
            odd,
        ],
    )


@cache
def shop_schema() -> strawberry.Schema:
    """Made once: it takes longer than most tests."""
    return create_schema(define_shop())
