"""Running the jobs of a run against its record: recorded jobs answer, the next one runs. Shared by the platforms.

A run starts from the top of its main job each time. A trigger is known by its place: "0" is the main job, "0.2" the
third thing that it triggered. What is recorded as finished at a place answers from there; anything else runs, and its
outcome is durable before the caller goes on.
"""

from gqlplugin.platform.replay.active_job import MAX_DEPTH, ActiveJob
from gqlplugin.platform.replay.notes import MAX_LOG_BYTES
from gqlplugin.platform.replay.recorder import Recorder, RunInterrupted, RunParked
from gqlplugin.platform.replay.run import MAIN, Replay

__all__ = ["MAIN", "MAX_DEPTH", "MAX_LOG_BYTES", "ActiveJob", "Recorder", "Replay", "RunInterrupted", "RunParked"]
