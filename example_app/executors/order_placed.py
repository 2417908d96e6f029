"""What happens to orders is written down, through the shop's own API: what the end of a resolver does."""

from __future__ import annotations

from example_app.auth import auth
from example_app.models import Order
from example_app.resolvers.place_order import place_order
from gqlplugin import ResolverExecutedArgs, create_executor, graphql_operation, resolver_executed_trigger

RECORD = """mutation RecordActivity($orderId: String!, $text: String!) {
  recordActivity(orderId: $orderId, text: $text) { orderId }
}"""


def _activity(args: ResolverExecutedArgs[Order]) -> dict[str, object]:
    assert args.result is not None  # noqa: S101 - the condition says so
    return {"orderId": args.result.id, "text": f"{args.result.customer_id} placed it: {args.result.item}"}


order_placed = create_executor(
    "order-placed",
    description="Writes down who placed what.",
    trigger=resolver_executed_trigger(place_order),
    condition=lambda args: args.success,
    operation=graphql_operation(RECORD, variables=_activity, auth_invoker=auth.invoker("manager-machine-user")),
)
