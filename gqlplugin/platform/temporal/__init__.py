"""Temporal: runs on as many machines as you like. Needs `pip install 'gqlplugin[temporal]'`."""

from gqlplugin.errors import missing_extra

try:
    import temporalio.client  # noqa: F401 - to say what is missing, before anything fails in its own words
except ImportError as error:
    raise missing_extra("TemporalPlatform", "temporal", error) from error

from gqlplugin.platform.temporal.platform import TemporalPlatform

__all__ = ["TemporalPlatform"]
