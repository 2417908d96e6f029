"""Core schemas: what a type shows by itself, before there is a value of it."""

import dataclasses
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    FutureDate,
    FutureDatetime,
    Json,
    NewPath,
    PastDatetime,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    computed_field,
    field_serializer,
    model_serializer,
)
from typing_extensions import TypedDict

from gqlplugin.codec import obstacles


class Hidden(BaseModel):
    token: str = Field("none", exclude=True)


class OneWay(BaseModel):
    token: str = Field(serialization_alias="key")


@dataclasses.dataclass
class Data:
    token: Annotated[str, Field(exclude=True)] = ""


class Typed(TypedDict):
    pin: SecretStr | None


class Size(Enum):
    PLAIN = "plain"
    PAIR = (1, 2)


class Area(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int

    @computed_field  # type: ignore[prop-decorator]  # mypy has no decorated properties
    @property
    def double(self) -> int:
        return 2 * self.width


class Around(BaseModel):
    metadata: list[Area] = []
    again: "Around | None" = None


@pytest.mark.parametrize(
    ("type_", "place", "reason"),
    [
        (SecretStr, "", "is a secret"),
        (list[SecretBytes], "", "is a secret"),
        (dict[str, Secret[int]], "", "is a secret"),
        (Typed, "Typed.pin", "is a secret"),
        (Hidden, "Hidden.token", "is left out of JSON by exclude=True"),
        (Data, "Data.token", "is left out of JSON by exclude=True"),
        (list[OneWay], "OneWay.token", "is written under an alias that it can't be read by"),
        (Json[int], "", "is of type Json"),
        (dict[tuple[int, int], int], "", "has keys of type tuple"),
        (dict[Annotated[frozenset[int], Field(min_length=1)], int], "", "has keys of type frozenset"),
        (Size | None, "Size", "has the enum member Size.PAIR"),
        (Area, "Area", "has computed fields"),
        (Around, "Area", "has computed fields"),
        (FutureDatetime, "", "is a future datetime"),
        (PastDatetime, "", "is a past datetime"),
        (list[FutureDate], "", "is a future date"),
        (NewPath, "", "is a path that is looked up on the disk"),
        (FilePath | None, "", "is a path that is looked up on the disk"),
        (DirectoryPath, "", "is a path that is looked up on the disk"),
    ],
)
def test_what_can_not_come_back_is_seen_in_the_type(type_: Any, place: str, reason: str) -> None:
    """Whatever hides, leaves out or garbles every value is found at any depth, with its place and a way out."""
    (found,) = obstacles(TypeAdapter(type_).core_schema)
    assert found.place == place
    assert found.reason.startswith(reason)
    assert found.instead


class Revealed(BaseModel):
    pin: SecretStr

    @field_serializer("pin")
    def reveal(self, pin: SecretStr) -> str:
        return pin.get_secret_value()


class Whole(BaseModel):
    token: str = Field(exclude=True)

    @model_serializer
    def write(self) -> dict[str, str]:
        return {"token": self.token}


class Computed(BaseModel):
    width: int

    @computed_field  # type: ignore[prop-decorator]  # mypy has no decorated properties
    @property
    def double(self) -> int:
        return 2 * self.width


@pytest.mark.parametrize(
    "type_",
    [
        int,
        Any,
        AwareDatetime,
        Path,
        Revealed,
        Whole,
        Computed,
        dict[int, str],
        dict[Annotated[str, BeforeValidator(str)], int],
        Annotated[list[int], Field(max_length=3)],
    ],
)
def test_what_may_come_back_is_not_refused_by_its_type(type_: Any) -> None:
    """What the user's own serializers write is not known beforehand, and is left to the check of each value."""
    assert obstacles(TypeAdapter(type_).core_schema) == []
