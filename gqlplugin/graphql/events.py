"""Telling executors that a resolver has run."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from graphql import GraphQLError

from gqlplugin.codec import JsonCodec, NotJsonError
from gqlplugin.errors import DefinitionError, GqlpluginError, plain_text
from gqlplugin.executor import ResolverError, ResolverExecutedArgs
from gqlplugin.graphql.errors import INTERNAL
from gqlplugin.idempotency import keyed_field
from gqlplugin.identity import executor_user
from gqlplugin.names import executor_of
from gqlplugin.platform.base import Binding, Platform
from gqlplugin.resolver import Resolver
from gqlplugin.telemetry import starting

_logger = logging.getLogger("gqlplugin.graphql")


class ResolverEvents:
    """Fires the executors that wait for one resolver."""

    def __init__(self, resolver: Resolver[Any, Any]) -> None:
        self._resolver = resolver
        self._codec: JsonCodec[ResolverExecutedArgs[Any]] | None = None

    async def succeeded(self, binding: Binding | None, result: object) -> None:
        """The body returned, and what it did is committed."""
        if binding is not None and (firings := self._firings(binding)):
            await self._publish(binding, firings, success=True, result=result)

    async def failed(self, binding: Binding | None, error: Exception) -> None:
        """The body raised, or what it did could not be committed."""
        if binding is not None and (firings := self._firings(binding)):
            await self._publish(binding, firings, success=False, error=_public(error))

    def _firings(self, binding: Binding) -> list[str]:
        definitions = binding.definitions
        return [] if definitions is None else list(definitions.resolver_listeners.get(self._resolver.name, ()))

    async def _publish(self, binding: Binding, firings: list[str], **outcome: Any) -> None:
        """Start the firings, durably. What the resolver did stands, so that an event that is lost is only logged."""
        if self._codec is None:
            self._codec = JsonCodec(ResolverExecutedArgs[self._resolver.output])  # type: ignore[name-defined]  # chosen at run time
        definitions = binding.definitions
        app_name = "" if definitions is None else definitions.name
        given = {"resolver_name": self._resolver.name, "app_namespace": app_name, **outcome}
        try:
            arg = self._codec.dump(self._codec.coerce(given))
        except (ValueError, NotJsonError):
            _logger.exception("The result of resolver %r can't be handed to executors", self._resolver.name)
            return
        keyed = keyed_field.get()
        starts = [
            _fire(
                binding.platform, name, arg, None if keyed is None else keyed.key_of_event(binding.user.id, name, arg)
            )
            for name in firings
        ]
        for name, answer in zip(firings, await asyncio.gather(*starts, return_exceptions=True), strict=True):
            if isinstance(answer, BaseException):
                _logger.error("%r was not fired by resolver %r", name, self._resolver.name, exc_info=answer)


async def _fire(platform: Platform, name: str, arg: str, idempotency_key: str | None) -> None:
    caller = executor_user(executor_of(name) or name)
    with starting(name) as start:
        start.began(await platform.start_workflow(name, arg, caller=caller, idempotency_key=idempotency_key))


def _public(error: Exception) -> ResolverError:
    """What the client is told of an error, without the ID under which an unexpected one is logged."""
    if isinstance(error, GqlpluginError) and not isinstance(error, DefinitionError):
        return ResolverError(code=error.code, message=error.message)
    if isinstance(error, GraphQLError):
        return ResolverError(code=str((error.extensions or {}).get("code", "")), message=plain_text(error.message))
    return ResolverError(code=INTERNAL, message="Internal error")
