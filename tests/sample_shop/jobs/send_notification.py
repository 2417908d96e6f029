"""A job in a module of its own."""

from gqlplugin.job import create_workflow_job


@create_workflow_job(name="send-notification")
async def send_notification(input: str) -> str:
    return input
