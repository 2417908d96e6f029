"""A resolver."""

from gqlplugin.resolver import ResolverContext, create_resolver
from tests.sample_shop.order_processing import order_processing


@create_resolver(name="orderNow", operation="mutation")
async def order_now(_ctx: ResolverContext[None]) -> str:
    return await order_processing.trigger("order")
