"""Machine users: as whom a workflow runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, NoneType
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from typing_extensions import TypeForm

from gqlplugin.checks import Source, caller_source, check_type, read_invoker
from gqlplugin.errors import DefinitionError, InvalidInputError
from gqlplugin.identity import AnyInvoker, AuthInvoker, MachineUser, User
from gqlplugin.secret import Secret, checked_secret

__all__ = ["Auth", "AuthInvoker", "MachineUser", "User", "define_auth"]

N = TypeVar("N", bound=str)


class Auth(Generic[N]):
    """An auth namespace and its machine users. Made by `define_auth`."""

    def __init__(
        self,
        namespace: str,
        machine_users: Mapping[str, MachineUser],
        source: Source,
        secrets: Mapping[str, Secret] = MappingProxyType({}),
    ) -> None:
        self.namespace = namespace
        self.machine_users = MappingProxyType(dict(machine_users))
        self.secrets = MappingProxyType(dict(secrets))
        self.source = source

    def invoker(self, name: N) -> AuthInvoker:
        """The invoker for a machine user of this namespace.

        Raises:
            InvalidInputError: There is no such machine user.
        """
        if name not in self.machine_users:
            raise InvalidInputError(self._unknown(name))
        return AuthInvoker(self.namespace, name)

    def resolve(self, invoker: AnyInvoker) -> AuthInvoker:
        """The invoker meant by a bare name, an invoker, or a dict of namespace and name.

        Raises:
            InvalidInputError: It is of another namespace, there is no such machine user, or it is something else.
        """
        given = read_invoker(invoker)
        invoker = given if isinstance(given, AuthInvoker) else AuthInvoker(self.namespace, given or "")
        if invoker.namespace != self.namespace:
            raise InvalidInputError(
                f"Auth namespace {invoker.namespace!r} is not the app's: use auth.invoker(...) of {self.namespace!r}."
            )
        if invoker.machine_user_name not in self.machine_users:
            raise InvalidInputError(self._unknown(invoker.machine_user_name))
        return invoker

    def _unknown(self, name: str) -> str:
        known = ", ".join(sorted(self.machine_users)) or "none"
        return f"Machine user {name!r} is not defined in auth {self.namespace!r}; defined: {known}."


def define_auth(
    namespace: str,
    machine_users: TypeForm[N],
    *,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    secrets: Mapping[str, Secret] | None = None,
) -> Auth[N]:
    """Define the machine users that workflows can run as, and that may call with a token.

    ```python
    auth = define_auth("my-auth", Literal["manager"], attributes={"manager": {"role": "MANAGER"}})
    auth.invoker("manager")
    ```

    Args:
        namespace: The name of the auth namespace.
        machine_users: Their names as a `Literal`, so that a misspelt one is an error in the editor.
        attributes: JSON values by machine user, such as roles.
        secrets: By machine user, at least 32 bytes each: with its name and its secret a machine user gets a token from
            `POST /oauth2/token` (RFC 6749, section 4.4). One without a secret gets none.

    Raises:
        DefinitionError: The names are no `Literal` of strings, attributes or secrets are for an unknown machine user,
            or a secret is too short. Malformed names are found by `define_app`, with everything else.
    """
    source = caller_source()
    check_type(f"define_auth at {source}", "namespace", namespace, str, 'define_auth("my-auth", ...)')
    names = get_args(machine_users)
    if get_origin(machine_users) is not Literal or not all(isinstance(name, str) for name in names):
        raise DefinitionError(
            f'Auth {namespace!r} at {source} takes the machine users as a Literal of strings: Literal["manager"].'
        )
    for what, by_name in (("attributes", attributes), ("secrets", secrets)):
        check_type(f"Auth {namespace!r} at {source}", what, by_name, (Mapping, NoneType), f'{what}={{"manager": ...}}')
    for name, one in (attributes or {}).items():
        check_type(f"Auth {namespace!r} at {source}", f"attributes[{name!r}]", one, Mapping, '{"role": "MANAGER"}')
    given: Mapping[str, Mapping[str, Any]] = attributes or {}
    checked = {
        name: checked_secret(one, f"auth {namespace!r}: the secret of {name!r} ({source})")
        for name, one in (secrets or {}).items()
    }
    if problems := [
        f"auth {namespace!r} has {what} for {name!r}, which it does not define ({source})"
        for what, named in (("attributes", given), ("a secret", checked))
        for name in named
        if name not in names
    ]:
        raise DefinitionError(problems)
    users = {name: MachineUser(name, MappingProxyType(dict(given.get(name, {})))) for name in names}
    return Auth(namespace, users, source, checked)
