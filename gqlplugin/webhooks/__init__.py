"""Incoming webhooks: requests from elsewhere that fire executors (TAILOR.md section 6)."""

from gqlplugin.webhooks.routes import webhook_routes

__all__ = ["webhook_routes"]
