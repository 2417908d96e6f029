"""A partner is told of processed orders: an outgoing webhook."""

from __future__ import annotations

from example_app.database import OrderRow
from example_app.models import Order
from example_app.settings import Settings
from gqlplugin import Executor, RecordUpdatedArgs, create_executor, record_updated_trigger, secret, webhook_operation

_NOBODY = "https://partner.example/orders"  # a name that nobody can have (RFC 2606)


def _became_processed(args: RecordUpdatedArgs[OrderRow]) -> bool:
    return args.new_record.status == "PROCESSED" and args.old_record.status != "PROCESSED"


def order_processed(settings: Settings) -> Executor[RecordUpdatedArgs[OrderRow]]:
    """The executor; disabled where there is no partner."""
    return create_executor(
        "order-processed",
        description="Tells the partner of processed orders: set SHOP_PARTNER_URL and SHOP_PARTNER_TOKEN.",
        disabled=settings.partner_url is None,
        trigger=record_updated_trigger(OrderRow),
        condition=_became_processed,
        operation=webhook_operation(
            settings.partner_url or _NOBODY,
            headers={"authorization": secret("SHOP_PARTNER_TOKEN")},
            request_body=lambda args: Order.model_validate(args.new_record),
            allow_networks=settings.partner_networks,
        ),
    )
