"""The Tailor Platform over HTTP: runs are kept, and jobs run, by a server that speaks its contract (TAILOR.md)."""

from gqlplugin.errors import missing_extra

try:  # to say what is missing, before anything fails in its own words
    import pydantic_settings  # noqa: F401
    import stamina  # noqa: F401
    import yaml  # noqa: F401
except ImportError as error:
    raise missing_extra("TailorPlatform", "tailor", error) from error

from gqlplugin.platform.tailor.platform import ApplicationInfo, MachineUserInfo, TailorPlatform, WorkflowInfo

__all__ = ["ApplicationInfo", "MachineUserInfo", "TailorPlatform", "WorkflowInfo"]
