"""The methods that tell of the app."""

from __future__ import annotations

from urllib.parse import urlsplit

from connectrpc.request import RequestContext

from gqlplugin.errors import NotFoundError
from gqlplugin.platform.tailor.proto import operator_pb2 as pb
from gqlplugin.platform.tailor.server.public_url import current_scope
from gqlplugin.platform.tailor.server.served import Served


class ApplicationMethods:
    """One server has one app."""

    served: Served

    async def get_application(
        self,
        request: pb.GetApplicationRequest,
        _ctx: RequestContext[pb.GetApplicationRequest, pb.GetApplicationResponse],
        /,
    ) -> pb.GetApplicationResponse:
        """The app by its name."""
        if request.application_name != self.served.definitions.name:
            raise NotFoundError(f"Application {request.application_name!r} not found.")
        return pb.GetApplicationResponse(application=self._application())

    async def list_applications(
        self,
        request: pb.ListApplicationsRequest,
        _ctx: RequestContext[pb.ListApplicationsRequest, pb.ListApplicationsResponse],
        /,
    ) -> pb.ListApplicationsResponse:
        """The app, as the only one."""
        application = self._application()
        page = self.served.page_tokens.page("applications", {application.name: application}, request)
        return pb.ListApplicationsResponse(
            applications=page.items, next_page_token=page.next_page_token, total_count=page.total_count
        )

    def _application(self) -> pb.Application:
        url = self.served.public_url.of(current_scope.get())
        return pb.Application(
            name=self.served.definitions.name,
            domain=urlsplit(url).hostname,
            auth_namespace=self.served.machine_user_tokens.namespace,
            create_time=self.served.defined_at,
            update_time=self.served.defined_at,
            url=url,
        )
