"""What may be a name, on both sides of the limits."""

import pytest

from gqlplugin.checks import is_graphql_name, is_name, name_problem, pascal_case


@pytest.mark.parametrize("name", ["abc", "process-order", "1st", "a--b", "a" * 63, "0" * 3])
def test_good_names(name: str) -> None:
    """3 to 63 lower-case letters, digits and inner hyphens make a name (TAILOR.md section 2)."""
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", "a", "ab", "a" * 64, "-abc", "abc-", "Abc", "a_b", "a.b", "äbc", "abc\n", "a b", "abc/def", "٣٣٣"]
)
def test_bad_names(name: str) -> None:
    """Anything else is not a name, and the message quotes it."""
    assert not is_name(name)
    assert repr(name) in name_problem("job", name)


@pytest.mark.parametrize("name", ["a", "_", "triggerOrder", "Order_2", "_private"])
def test_good_graphql_names(name: str) -> None:
    """Letters, digits and underscores, not a digit first, make a GraphQL name."""
    assert is_graphql_name(name)


@pytest.mark.parametrize("name", ["", "2nd", "trigger-order", "__typename", "__x", "a b", "é", "name\n"])
def test_bad_graphql_names(name: str) -> None:
    """Anything else, and what GraphQL reserves for introspection, is not a GraphQL name."""
    assert not is_graphql_name(name)


@pytest.mark.parametrize("name", ["order-processing", "order_processing", "orderProcessing", "OrderProcessing"])
def test_pascal_case(name: str) -> None:
    """Every spelling of a name gives the same type name."""
    assert pascal_case(name) == "OrderProcessing"
