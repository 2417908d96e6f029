"""An ASGI app that serves any platform over the Tailor Platform's contract."""

from gqlplugin.platform.tailor.server.app import create_server

__all__ = ["create_server"]
