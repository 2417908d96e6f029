"""All methods of the service."""

from __future__ import annotations

from gqlplugin.platform.tailor.server.applications import ApplicationMethods
from gqlplugin.platform.tailor.server.jobs import JobMethods
from gqlplugin.platform.tailor.server.machine_users import MachineUserMethods
from gqlplugin.platform.tailor.server.runs import RunMethods
from gqlplugin.platform.tailor.server.served import Served
from gqlplugin.platform.tailor.server.starts import StartMethods
from gqlplugin.platform.tailor.server.waits import WaitMethods
from gqlplugin.platform.tailor.server.workflows import WorkflowMethods


class Service(
    ApplicationMethods, WorkflowMethods, StartMethods, RunMethods, JobMethods, WaitMethods, MachineUserMethods
):
    """The operator service (TAILOR.md sections 2 and 3), and what gqlplugin adds to it."""

    def __init__(self, served: Served) -> None:
        self.served = served
