"""Values as JSON text: what survives the journey, and what is refused before it starts."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from gqlplugin.codec import JsonCodec, NotJsonError, check_json, encode, same_json
from gqlplugin.errors import FieldProblem, InvalidInputError


class Colour(Enum):
    RED = "red"


class Line(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    unit_price: Decimal
    placed_at: datetime
    colour: Colour = Colour.RED


class Order(BaseModel):
    order_id: UUID = Field(serialization_alias="orderId", validation_alias="orderId")
    lines: list[Line] = []
    note: str | None = None


LINE = Line(unit_price=Decimal("1.10"), placed_at=datetime(2025, 1, 2, 3, 4, 5, 678900, tzinfo=UTC))


def test_aliases_are_what_goes_on_the_wire() -> None:
    """A TypeScript job sees `unitPrice` when the model says so (TAILOR.md section 5)."""
    text = JsonCodec(Line).dump(LINE)
    assert text == '{"unitPrice":"1.10","placedAt":"2025-01-02T03:04:05.678900Z","colour":"red"}'
    assert JsonCodec(Line).load(text) == LINE


def test_values_are_read_by_alias_and_by_name() -> None:
    """Arguments given by name are understood where a model has aliases."""
    by_name = {"unit_price": "1.10", "placed_at": LINE.placed_at}
    by_alias = {"unitPrice": "1.10", "placedAt": LINE.placed_at}
    assert JsonCodec(Line).coerce(by_name) == JsonCodec(Line).coerce(by_alias) == LINE
    key = "00000000-0000-0000-0000-000000000001"
    assert JsonCodec(Order).coerce({"order_id": key}) == JsonCodec(Order).coerce({"orderId": key})
    assert JsonCodec(Order).load(f'{{"order_id":"{key}"}}') == JsonCodec(Order).load(f'{{"orderId":"{key}"}}')


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (type(None), None),
        (int, 2**80),
        (float, -0.0),
        (str, 'null "NaN" \n 🎉 \x00'),
        (bool, True),
        (date, date(2024, 2, 29)),
        (timedelta, timedelta(days=-1, microseconds=1)),
        (Decimal, Decimal("1.10")),
        (UUID, UUID(int=1)),
        (Colour, Colour.RED),
        (list[Line | None], [LINE, None]),
        (dict[str, tuple[int, str]], {"a": (1, "b")}),
        (set[int], {1, 2, 3}),
        (Order | None, None),
    ],
)
def test_values_survive_the_journey(type_: Any, value: object) -> None:
    """What is written is what is read, for every kind of type."""
    codec: JsonCodec[Any] = JsonCodec(type_)
    assert codec.load(codec.dump(value)) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(JSON)
def test_any_json_value_survives_the_journey(value: object) -> None:
    """Whatever JSON can say comes back as it was, and is the same as itself."""
    codec: JsonCodec[Any] = JsonCodec(Any)
    text = codec.dump(value)
    assert codec.load(text) == value
    assert same_json(text, f" {text} ")


class Ratio(BaseModel):
    value: float


class ConstantRatio(Ratio):
    model_config = ConfigDict(ser_json_inf_nan="constants")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("type_", "wrap"),
    [
        (float, lambda number: number),
        (Any, lambda number: {"a": [number]}),
        (Ratio, lambda number: Ratio(value=number)),
        (ConstantRatio, lambda number: ConstantRatio(value=number)),
        (dict[str, object], lambda number: {"a": Ratio(value=number)}),
        (list[float | None], lambda number: [None, number]),
    ],
)
def test_nan_and_the_infinities_are_refused(type_: Any, wrap: Callable[[float], object], number: float) -> None:
    """JSON has no NaN; a value that would come back as null is refused, wherever it hides."""
    with pytest.raises(NotJsonError, match="NaN or an infinity"):
        JsonCodec(type_).dump(wrap(number))


class Node(BaseModel):
    children: list[Any] = []


def test_what_json_has_no_form_for_is_refused() -> None:
    """Objects, bytes that are no text, lone surrogates and circles are refused with a reason."""
    circle: list[Any] = []
    circle.append(circle)
    for value in (object(), b"\xff", "\ud800", circle, Node(children=[object()])):
        with pytest.raises(NotJsonError, match="can't be written as JSON"):
            JsonCodec(Any).dump(value)


class Account(BaseModel):
    user: str
    balance: str
    pin: SecretStr = SecretStr("1234")


def test_refusals_never_quote_the_value() -> None:
    """The message of an error that reaches clients and logs holds no values: they may be secret."""
    codec = JsonCodec(Account)
    broken = Account(user="a", balance="b")
    broken.balance = 12345  # type: ignore[assignment]  # broken on purpose
    for value in ({"user": "a", "balance": 12345}, {"user": "a", "balance": "b", "pin": 12345}, broken):
        with pytest.raises(InvalidInputError) as caught:
            encode("The input", codec, value)
        assert "12345" not in caught.value.message


def test_a_refusal_names_every_field() -> None:
    """One problem per failing field, each with its path, and all of them in the message."""
    with pytest.raises(InvalidInputError) as caught:
        encode("The input of job 'x-y'", JsonCodec(Order), {"orderId": "?", "lines": [{"unit_price": "1"}]})
    assert [problem.path for problem in caught.value.problems] == [("orderId",), ("lines", 0, "placedAt")]
    assert caught.value.problems[1] == FieldProblem(("lines", 0, "placedAt"), "Field required")
    assert caught.value.message.startswith("The input of job 'x-y' is not valid: orderId: Input should be a valid UUID")
    assert "lines.0.placedAt: Field required" in caught.value.message


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", '{"a": 1} x', "NaN", '{"a": -Infinity}', '"\\ud800"', "[" * 1000]
)
def test_text_that_is_no_json_is_refused(text: str) -> None:
    """Anything but one JSON value is refused, hostile nesting included."""
    with pytest.raises(InvalidInputError, match=r"^The arguments are not valid JSON"):
        check_json(text, max_bytes=10_000)


def test_the_limit_counts_bytes() -> None:
    """A text of exactly the limit passes, one byte more does not; characters beyond ASCII count for their bytes."""
    check_json('"aé"', max_bytes=5)
    for text in ('"aaaa"', '"éé"'):
        with pytest.raises(InvalidInputError, match="larger than the limit of 5 bytes"):
            check_json(text, max_bytes=5)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ('{"a":1,"b":[2]}', '{ "b": [2], "a": 1 }', True),
        ("[1,2]", "[2,1]", False),
        ('{"a":1}', '{"a":"1"}', False),
        ('{"a":null}', "{}", False),
        ("[1]", "[true]", False),
    ],
)
def test_same_json(left: str, right: str, same: bool) -> None:
    """Order of keys and white space don't matter; everything else does."""
    assert same_json(left, right) is same


class Later(BaseModel):
    nested: "Much"


class Much(BaseModel):
    x: int


def test_a_type_may_be_completed_after_its_codec() -> None:
    """The codec of a model that names a later one works once that one exists."""
    codec = JsonCodec(Later)
    assert codec.load('{"nested":{"x":1}}').nested.x == 1
    with pytest.raises(ValidationError):
        codec.load('{"nested":{}}')
