"""A job in a module of its own."""

from gqlplugin.job import create_workflow_job


@create_workflow_job(name="charge-card")
async def charge_card(input: str) -> str:
    return input
