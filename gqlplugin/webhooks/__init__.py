"""Incoming webhooks: requests from elsewhere that fire executors (TAILOR.md section 6)."""

from gqlplugin.webhooks.routes import check_secrets, webhook_routes

__all__ = ["check_secrets", "webhook_routes"]
