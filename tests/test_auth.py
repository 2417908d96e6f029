"""Machine users: which there are, and which are refused."""

import re
from typing import Any, Literal

import pytest

from gqlplugin.auth import AuthInvoker, define_auth
from gqlplugin.errors import DefinitionError, InvalidInputError

auth = define_auth("my-auth", Literal["manager", "auditor"], attributes={"manager": {"role": "MANAGER"}})


def test_an_invoker_carries_namespace_and_name() -> None:
    """`auth.invoker` gives the pair that the Tailor Platform takes (TAILOR.md section 5)."""
    assert auth.invoker("manager") == AuthInvoker("my-auth", "manager")


def test_machine_users_keep_their_attributes() -> None:
    """Each machine user has the attributes given for it, none by default."""
    assert auth.machine_users["manager"].attributes == {"role": "MANAGER"}
    assert auth.machine_users["auditor"].attributes == {}


@pytest.mark.parametrize("invoker", ["auditor", AuthInvoker("my-auth", "auditor")])
def test_a_bare_name_means_the_same_as_an_invoker(invoker: AuthInvoker | str) -> None:
    """`auth_invoker="auditor"` is `auth_invoker=auth.invoker("auditor")`."""
    assert auth.resolve(invoker) == AuthInvoker("my-auth", "auditor")


@pytest.mark.parametrize("invoker", ["nobody", AuthInvoker("my-auth", "nobody")])
def test_an_unknown_machine_user_is_refused_with_those_that_exist(invoker: AuthInvoker | str) -> None:
    """A misspelt machine user is refused, and the message lists the right ones."""
    with pytest.raises(InvalidInputError, match="'nobody' is not defined in auth 'my-auth'; defined: auditor, manager"):
        auth.resolve(invoker)


def test_a_dict_of_namespace_and_name_means_the_same() -> None:
    """The form of the Tailor Platform's own functions is taken."""
    assert auth.resolve({"namespace": "my-auth", "machineUserName": "manager"}) == auth.invoker("manager")
    with pytest.raises(InvalidInputError, match=r"Auth namespace 'other' is not the app's"):
        auth.resolve({"namespace": "other", "machineUserName": "manager"})


@pytest.mark.parametrize(
    "given",
    [
        3,
        {},
        {"namespace": "my-auth"},
        {"namespace": "my-auth", "machine_user_name": "manager"},
        {"namespace": "my-auth", "machineUserName": "manager", "more": ""},
        {"namespace": "my-auth", "machineUserName": None},
        ("my-auth", "manager"),
    ],
)
def test_what_is_no_invoker_is_refused(given: Any) -> None:
    """The error says what to write."""
    with pytest.raises(
        InvalidInputError, match=r'is not an invoker: write auth.invoker\(...\), .*"machineUserName": "..."'
    ):
        auth.resolve(given)


def test_an_unknown_machine_user_gives_no_invoker() -> None:
    """What the editor misses, such as a name from a variable, is refused at the call."""
    with pytest.raises(InvalidInputError, match="'nobody' is not defined"):
        auth.invoker("nobody")  # type: ignore[arg-type]  # the editor error is the point


def test_an_invoker_of_another_namespace_is_refused() -> None:
    """A machine user of another auth namespace is not the app's, whatever its name."""
    with pytest.raises(InvalidInputError, match="namespace 'other' is not the app's"):
        auth.resolve(AuthInvoker("other", "manager"))


@pytest.mark.parametrize("names", [str, ["manager"], Literal["manager", 3]])
def test_machine_users_are_a_literal_of_strings(names: object) -> None:
    """Only a Literal lets the editor know the names; the error says where and how."""
    with pytest.raises(DefinitionError, match=rf"{re.escape(__file__)}:\d+ takes the machine users as a Literal"):
        define_auth("my-auth", names)  # type: ignore[arg-type]  # the editor error is the point


def test_attributes_of_unknown_machine_users_are_all_reported() -> None:
    """Attributes for machine users that aren't defined are refused together, with the place."""
    with pytest.raises(DefinitionError) as caught:
        define_auth("my-auth", Literal["manager"], attributes={"manger": {}, "auditr": {}, "manager": {}})
    assert [("'manger'" in text, "'auditr'" in text) for text in caught.value.problems] == [
        (True, False),
        (False, True),
    ]
    assert all(__file__ in text for text in caught.value.problems)
