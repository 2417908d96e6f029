"""What a server runs, `uvicorn example_app.main:asgi`, and a worker, `gqlplugin worker example_app.main:asgi`."""

from example_app.app import serve_shop
from example_app.platforms import create_platform
from example_app.settings import Settings, tune_garbage_collection

settings = Settings.from_environment()
platform = create_platform(settings)
asgi = serve_shop(settings, platform)
tune_garbage_collection()
