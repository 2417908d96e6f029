"""`python -m example_app.prepare`: makes the shop's tables on its PostgreSQL server, before anything else starts."""

import asyncio

from example_app.database import prepare_server
from example_app.settings import Settings

if __name__ == "__main__":
    url = Settings.from_environment().data_url
    if url is None:
        raise SystemExit("SHOP_DATA_URL is not set: a shop that keeps its data in a file needs no preparing.")
    asyncio.run(prepare_server(url))
