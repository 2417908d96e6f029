"""Values of models on their way through GraphQL and back."""

import asyncio
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    Field,
)
from typing_extensions import TypeAliasType

from gqlplugin.graphql.types import BigInt
from gqlplugin.resolver import ResolverContext
from tests.graphql.schemas import answer, model_of, returning, schema_of

Level = TypeAliasType("Level", Literal["low", "high"])


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Inner(BaseModel):
    level: Level
    note: str | None


class Sample(BaseModel):
    text: str
    count: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    big: BigInt
    ratio: float
    flag: bool
    at: datetime
    day: date
    clock: time
    price: Decimal
    wait: timedelta
    ident: uuid.UUID
    colour: Colour
    tags: set[str]
    inner: list[Inner]
    extra: dict[str, int | str | None] | None = {"a": 1}


def samples() -> st.SearchStrategy[Sample]:
    return st.builds(
        Sample,
        count=st.integers(-(2**31), 2**31 - 1),
        ratio=st.floats(allow_nan=False, allow_infinity=False),
        price=st.decimals(allow_nan=False, allow_infinity=False, places=2),
        wait=st.timedeltas(timedelta(days=-999), timedelta(days=999)),
        inner=st.lists(st.builds(Inner, level=st.sampled_from(["low", "high"])), max_size=2),
    )


EXTRACT = "text count big ratio flag at day clock price wait ident colour tags inner { level note } extra"
OPERATION = f"""query($sample: SampleInput!) {{ echo(sample: $sample) {{ sample {{ {EXTRACT} }} }} }}"""


_received: list[Sample] = []
_MODEL = model_of("EchoSample", sample=(Sample, ...))


def _receive(ctx: ResolverContext[Any]) -> Any:
    _received.append(ctx.input.sample)
    return ctx.input


_SCHEMA = schema_of(returning(_receive, _MODEL, input=_MODEL, name="echo"))


@settings(max_examples=60)
@given(samples())
def test_value_survives_graphql(sample: Sample) -> None:
    """A model that is sent as variables is the same in the body, and the answer reads as the same model again."""
    sent = sample.model_dump(mode="json") | {"big": str(sample.big), "colour": sample.colour.name}
    read = asyncio.run(answer(_SCHEMA, OPERATION, sample=sent))["echo"]["sample"]
    assert _received.pop() == sample
    assert Sample.model_validate(read | {"colour": Colour[read["colour"]]}) == sample
