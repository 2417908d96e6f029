"""What the tests of the client share."""

import pytest

from tests.platform.tailor.fake import FakeTailor


@pytest.fixture
def fake() -> FakeTailor:
    """A server with the bare contract."""
    return FakeTailor()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the settings of who runs it."""
    for name in (
        "TAILOR_PLATFORM_URL",
        "PLATFORM_URL",
        "TAILOR_PLATFORM_TOKEN",
        "TAILOR_TOKEN",
        "TAILOR_PLATFORM_WORKSPACE_ID",
        "TAILOR_PLATFORM_PROFILE",
        "PLATFORM_OAUTH2_CLIENT_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
