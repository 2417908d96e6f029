"""The shop, served."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from example_app.settings import Settings
from gqlplugin.testing import GraphQLClient
from tests.example_app.support import served


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(database=tmp_path / "shop.sqlite")


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[GraphQLClient]:
    async with served(settings) as client:
        yield client
