"""Makes a caller of what a token says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gqlplugin.identity import NIL_UUID, User

AttributesOf = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Makes attributes of claims."""


class ClaimError(Exception):
    """A claim is not of the form that a caller has."""


@dataclass(frozen=True, slots=True)
class ClaimsReader:
    """Makes callers of the claims of tokens that were verified.

    Args:
        user_id: The claim with the caller's ID.
        attributes: The claims that become attributes, or what makes attributes of all claims.
        workspace: The claim with the caller's workspace, if there are any.
    """

    user_id: str
    attributes: Sequence[str] | AttributesOf
    workspace: str | None

    def user(self, claims: Mapping[str, Any]) -> User:
        """The caller.

        Raises:
            ClaimError: The ID or the workspace is missing, or no text.
        """
        user_id = _text(claims, self.user_id)
        if user_id == NIL_UUID:
            raise ClaimError(f"{self.user_id} is the ID of the anonymous caller")
        workspace = NIL_UUID if self.workspace is None else _text(claims, self.workspace)
        return User(user_id, "user", workspace, self._attributes(claims))

    def _attributes(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        if callable(self.attributes):
            return dict(self.attributes(claims))
        return {name: claims[name] for name in self.attributes if name in claims}


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise ClaimError(f"{name} is not a text")
    return value
