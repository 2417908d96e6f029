"""Temporal: runs on as many machines as you like. Needs `pip install 'gqlplugin[temporal]'`."""

from gqlplugin.platform.temporal.platform import TemporalPlatform

__all__ = ["TemporalPlatform"]
