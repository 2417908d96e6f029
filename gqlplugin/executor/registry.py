"""What an app has, as executors check themselves against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gqlplugin.identity import AuthInvoker
from gqlplugin.platform.base import RunningDatabase
from gqlplugin.resolver import Resolver
from gqlplugin.workflow import Workflow


class Registry(Protocol):
    """The definitions of an app."""

    @property
    def workflows(self) -> Mapping[str, Workflow[Any, Any]]: ...
    @property
    def resolvers(self) -> Mapping[str, Resolver[Any, Any]]: ...
    @property
    def databases(self) -> Mapping[str, RunningDatabase]: ...

    def resolve_invoker(self, invoker: AuthInvoker | str | None) -> AuthInvoker | None:
        """The machine user meant by a name or an invoker; unknown ones are refused."""
        ...
