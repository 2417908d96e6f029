"""An ASGI app that serves any platform over the Tailor Platform's contract."""

from gqlplugin.errors import missing_extra

try:  # to say what is missing, before anything fails in its own words
    import connectrpc.code  # noqa: F401
    import google.protobuf.message  # noqa: F401
    import jwt  # noqa: F401
except ImportError as error:
    raise missing_extra("A platform server", "tailor-server", error) from error

from gqlplugin.platform.tailor.server.app import create_server

__all__ = ["create_server"]
