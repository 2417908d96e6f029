"""Secrets by reference: looked up when they are needed, and never shown."""

import pytest
from pydantic import SecretStr

from gqlplugin.errors import DefinitionError, FailedPreconditionError
from gqlplugin.secret import reveal, secret


def test_a_secret_is_read_each_time_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that changed is the one that is used from then on."""
    reference = secret("A_SECRET_OF_OURS")
    monkeypatch.setenv("A_SECRET_OF_OURS", "one")
    assert reveal(reference) == "one"
    monkeypatch.setenv("A_SECRET_OF_OURS", "two")
    assert reveal(reference) == "two"


def test_a_secret_of_settings_is_taken_as_it_is() -> None:
    """pydantic's `SecretStr` works as well."""
    assert reveal(SecretStr("three")) == "three"


def test_a_secret_does_not_show_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed of it is its name."""
    monkeypatch.setenv("A_SECRET_OF_OURS", "hunter2")
    assert "hunter2" not in f"{secret('A_SECRET_OF_OURS')!r} {secret('A_SECRET_OF_OURS')}"


@pytest.mark.parametrize("value", [None, ""])
def test_a_secret_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """The error names the variable to set."""
    if value is None:
        monkeypatch.delenv("A_SECRET_OF_OURS", raising=False)
    else:
        monkeypatch.setenv("A_SECRET_OF_OURS", value)
    with pytest.raises(FailedPreconditionError, match="A_SECRET_OF_OURS is not set"):
        reveal(secret("A_SECRET_OF_OURS"))


def test_an_empty_secret_is_refused() -> None:
    """Nothing is signed or sent with an empty secret."""
    with pytest.raises(FailedPreconditionError, match="empty"):
        reveal(SecretStr(""))


def test_a_value_given_for_a_name_is_refused() -> None:
    """Who passes the secret itself is told, before it gets into a definition's repr."""
    with pytest.raises(DefinitionError, match="name of an environment variable"):
        secret("whsec_abc/def==")
