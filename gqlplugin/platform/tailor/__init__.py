"""The Tailor Platform over HTTP: runs are kept, and jobs run, by a server that speaks its contract (TAILOR.md)."""

from gqlplugin.platform.tailor.catalog import ApplicationInfo, MachineUserInfo, WorkflowInfo
from gqlplugin.platform.tailor.platform import TailorPlatform

__all__ = ["ApplicationInfo", "MachineUserInfo", "TailorPlatform", "WorkflowInfo"]
