"""Where the shop's runs are: the one thing that changes when it moves to more than one machine."""

from __future__ import annotations

from datetime import timedelta

from example_app.settings import Settings, TemporalSettings
from gqlplugin import Platform
from gqlplugin.platform.embedded import EmbeddedPlatform


def create_platform(settings: Settings) -> Platform:
    """The platform that the settings ask for."""
    if settings.temporal is None:
        # A job that is cut off at shutdown goes on at the next start, so Ctrl-C need not wait for it long.
        return EmbeddedPlatform(settings.database, shutdown_grace=timedelta(seconds=1))
    return _on_temporal(settings.temporal)


def _on_temporal(settings: TemporalSettings) -> Platform:
    from gqlplugin.platform.temporal import TemporalPlatform  # noqa: PLC0415 - needs an extra

    return TemporalPlatform(
        settings.address,
        namespace=settings.namespace,
        task_queue=settings.task_queue,
        tls=settings.tls,
        api_key=settings.api_key,
        heartbeat_timeout=timedelta(seconds=settings.heartbeat_seconds),
        shutdown_grace=timedelta(seconds=settings.grace_seconds),
    )
