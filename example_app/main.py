"""What a server runs: `uvicorn example_app.main:asgi`."""

from datetime import timedelta

from example_app.app import serve_shop
from example_app.settings import Settings, tune_garbage_collection
from gqlplugin.platform.embedded import EmbeddedPlatform

settings = Settings.from_environment()
# A job that is cut off at shutdown goes on at the next start, so Ctrl-C need not wait for it long.
platform = EmbeddedPlatform(settings.database, shutdown_grace=timedelta(seconds=1))
asgi = serve_shop(settings, platform)
tune_garbage_collection()
