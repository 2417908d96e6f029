"""The methods that tell of machine users."""

from __future__ import annotations

from typing import Any

from connectrpc.request import RequestContext

from gqlplugin.errors import NotFoundError
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.messages import to_machine_user
from gqlplugin.platform.tailor.server.served import Served
from gqlplugin.platform.tailor.server.tokens import MachineUserClient


class MachineUserMethods:
    """The machine users are those of the app's auth."""

    served: Served

    async def get_auth_machine_user(
        self, request: pb.GetAuthMachineUserRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.GetAuthMachineUserResponse:
        """A machine user by its name, with what it gets its tokens by."""
        self._check_namespace(request.auth_namespace)
        client = self.served.machine_user_tokens.clients.get(request.name)
        if client is None:
            raise NotFoundError(f"Machine user {request.name!r} not found.")
        return pb.GetAuthMachineUserResponse(machine_user=self._machine_user(client))

    async def list_auth_machine_users(
        self, request: pb.ListAuthMachineUsersRequest, _ctx: RequestContext[Any, Any], /
    ) -> pb.ListAuthMachineUsersResponse:
        """The machine users, by name."""
        self._check_namespace(request.auth_namespace)
        page = self.served.page_tokens.page("machine users", self.served.machine_user_tokens.clients, request)
        return pb.ListAuthMachineUsersResponse(
            machine_users=[self._machine_user(client) for client in page.items],
            next_page_token=page.next_page_token,
            total_count=page.total_count,
        )

    def _check_namespace(self, namespace: str) -> None:
        if self.served.definitions.auth is None or namespace != self.served.machine_user_tokens.namespace:
            raise NotFoundError(f"Auth namespace {namespace!r} not found.")

    def _machine_user(self, client: MachineUserClient) -> pb.MachineUser:
        return to_machine_user(client, self.served.machine_user_tokens.namespace, self.served.defined_at)
