"""Values as JSON text: what survives the journey, and what is refused before it starts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializeAsAny,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)
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


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Card(BaseModel):
    number: int


class Cash(BaseModel):
    number: int


class Payment(BaseModel):
    by: Card | Cash


class Status(StrEnum):
    NEW = "new"


class Memo(BaseModel):
    text: str
    _seen: int = PrivateAttr(0)


def memo(seen: int) -> Memo:
    made = Memo(text="x")
    made._seen = seen
    return made


class Loose(BaseModel):
    limit: float = 0
    status: str = Status.NEW
    extras: dict[Any, Any] = {}


class Stamped(BaseModel):
    stamp: str

    @field_validator("stamp")
    @classmethod
    def prefix(cls, value: str) -> str:
        return f"s3cret-{value}"


class StampedOnce(BaseModel):
    stamp: str

    @field_validator("stamp")
    @classmethod
    def prefix(cls, value: str) -> str:
        if value.startswith("prefix-"):
            raise ValueError("it has its prefix")
        return f"prefix-{value}"


class Day(BaseModel):
    day: int

    @field_serializer("day")
    def shown(self, value: int) -> str:
        return f"day {value}"


class Rest(BaseModel):
    model_config = ConfigDict(extra="allow")


class Sparse(BaseModel):
    page: int = Field(1, exclude_if=lambda page: page == 5)


class Zoo(BaseModel):
    animal: SerializeAsAny[Animal]


class Size(Enum):
    SMALL = (1, 2)


@dataclass
class Base:
    x: int
    y: int = field(init=False, default=0)


@dataclass
class Derived(Base):
    z: int = 2


def changed_base() -> Base:
    made = Base(1)
    made.y = 5
    return made


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


class Revealed(BaseModel):
    pin: SecretStr

    @field_serializer("pin")
    def reveal(self, pin: SecretStr) -> str:
        return pin.get_secret_value()


DOG = Dog(name="rex", breed="lab")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Animal, DOG),
        (list[Animal | None], [None, DOG]),
        (Zoo, Zoo(animal=DOG)),
        (Base, Derived(1)),
        (Base, changed_base()),
        (Payment, Payment(by=Cash(number=1))),
        (str | datetime, NOW),
        (datetime | str, "2026-01-02T00:00:00Z"),
        (Status | str, Status.NEW),
        (set[int] | list[int], {1}),
        (dict[int | str, str], {1: "a"}),
        (Memo, memo(3)),
        (SecretStr, SecretStr("s3cret")),
        (Any, {"a": [Account(user="a", balance="b")]}),
        (Any, [SecretStr("s3cret")]),
        (Loose, Loose(extras={"pin": SecretStr("s3cret")})),
        (Any, {3: "a", "3": "b"}),
        (Any, {(1, 2): 3}),
        (Any, Size.SMALL),
        (Size, Size.SMALL),
        (Stamped, Stamped(stamp="a")),
        (Day, Day(day=1)),
        (Rest, Rest.model_validate({"pin": SecretStr("s3cret")})),
        (Sparse, Sparse(page=5)),
        (dict[str, Any], nested(201)),
        (Decimal, Decimal("NaN")),
        (datetime, datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))),  # its offset has seconds
    ],
)
def test_what_would_come_back_as_another_value_is_refused(type_: Any, value: object) -> None:
    """A value that is hidden, left out, cut or mistaken for another type is refused, and is not quoted."""
    with pytest.raises(NotJsonError) as caught:
        JsonCodec(type_).dump(value)
    assert "s3cret" not in str(caught.value)


def test_a_refusal_says_where_and_what() -> None:
    """The message leads to the value: the path within the whole, and the types."""
    with pytest.raises(NotJsonError, match=r"^1\.by: a value of type Cash would come back from JSON as Card$"):
        JsonCodec(list[Payment]).dump([Payment(by=Card(number=1)), Payment(by=Cash(number=1))])


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Animal | Dog, DOG),
        (Payment, Payment(by=Card(number=1))),
        (str | datetime, "2026-01-02T00:00:00Z"),
        (datetime | str, NOW),
        (Memo, memo(0)),
        (Loose, Loose()),
        (Revealed, Revealed(pin=SecretStr("1"))),
        (StampedOnce, StampedOnce(stamp="a")),
        (Sequence[int], (1, 2)),
        (Iterable[int], iter([1, 2])),
        (dict[str, Any], nested(150)),
        (Any, {"at": NOW, "pair": (1, {2}), 3: Decimal("1.5"), "model": DOG, "status": Status.NEW}),
        (datetime, datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)),
    ],
)
def test_what_comes_back_is_taken(type_: Any, value: object) -> None:
    """What is read is what was written, as far as the declared type says what that is; untyped values are JSON."""
    codec: JsonCodec[Any] = JsonCodec(type_)
    codec.load_accepted(codec.dump(codec.coerce(value)))


def test_what_others_read_is_written_as_it_is() -> None:
    """Where jobs are not Python, and for a request, nothing has to be read back here; only a secret is no value."""

    class Sent(BaseModel):
        order_id: str = Field(serialization_alias="orderId")
        pin: SecretStr = SecretStr("1")

    codec = JsonCodec(Sent, is_read=False)
    assert codec.dump(Sent(order_id="1")) == '{"orderId":"1","pin":"**********"}'
    assert [one.place for one in codec.obstacles()] == ["Sent.pin"]
    assert JsonCodec(Any).write(Hidden(note="t")) == "{}"


class Hidden(BaseModel):
    note: str = Field("none", exclude=True)


closed = False


class Bid(BaseModel):
    amount: int

    @field_validator("amount")
    @classmethod
    def is_open(cls, value: int) -> int:
        if closed:
            raise FileNotFoundError("s3cret")
        return value


class Auction(BaseModel):
    metadata: dict[str, Bid]
    bids: list[tuple[Bid, int]]

    @model_validator(mode="after")
    def is_open(self) -> "Auction":
        if closed:
            raise ValueError("closed")
        return self


def test_what_was_accepted_is_read_whatever_validators_say_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A validator that refuses today what it took yesterday stops new values and no accepted one; types still count."""
    codec = JsonCodec(list[Auction])
    value = [Auction(metadata={"a": Bid(amount=1)}, bids=[(Bid(amount=2), 3)])]
    text = codec.dump(value)
    monkeypatch.setattr(f"{__name__}.closed", True)
    assert codec.load_accepted(text) == value
    assert codec.dump(value) == text
    with pytest.raises((ValidationError, FileNotFoundError)):
        codec.load(text)
    with pytest.raises((ValidationError, FileNotFoundError)):
        codec.load_accepted(text.replace("2", '"two"'))


def test_a_recorded_value_is_not_refused_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay writes what the record has, although a validator would refuse it now; anything else is refused."""
    codec: JsonCodec[Any] = JsonCodec(list[Bid])
    text = encode("It", codec, [{"amount": 1}])
    monkeypatch.setattr(f"{__name__}.closed", True)
    assert encode("It", codec, [{"amount": 1}], is_recorded=lambda recorded: recorded == text) == text
    with pytest.raises(FileNotFoundError):
        encode("It", codec, [{"amount": 2}], is_recorded=lambda recorded: recorded == text)


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
