"""The embedded platform: a journal in one SQLite file, in the process that serves GraphQL."""

from gqlplugin.platform.embedded.platform import EmbeddedPlatform

__all__ = ["EmbeddedPlatform"]
