"""The shop as a whole: its definitions, its schema, and what serves it."""

from __future__ import annotations

from starlette.applications import Starlette

from example_app.auth import auth, authenticate_demo, policy, run_tokens
from example_app.database import shop_database
from example_app.executors.order_processed import order_processed
from example_app.page import page_routes
from example_app.settings import Settings
from gqlplugin import App, Platform, create_asgi, create_schema, define_app, discover


def create_shop(settings: Settings) -> App:
    """Bring the definitions of the shop together."""
    found = discover("example_app.workflows", "example_app.resolvers", "example_app.executors")
    return define_app(
        "example-shop",
        auth=auth,
        workflows=found.workflows,
        jobs=found.jobs,
        resolvers=found.resolvers,
        executors=[*found.executors, order_processed(settings)],
        databases=[shop_database(settings.data_url or settings.data)],
        env={"currency": "EUR", "pace": settings.pace, "approval_from_cents": settings.approval_from_cents},
    )


def serve_shop(settings: Settings, platform: Platform) -> Starlette:
    """Make what serves the shop: its page, its API and its webhooks."""
    return create_asgi(
        create_shop(settings),
        platform,
        authenticate=authenticate_demo,
        run_tokens=run_tokens,
        policy=policy,
        debug=True,
        routes=page_routes(),
    )


app = create_shop(Settings.from_environment())
"""What the command line takes: `gqlplugin worker example_app.app:app --database shop.sqlite`."""

schema = create_schema(app, policy=policy)
