"""A job in a module of its own."""

from gqlplugin.job import create_workflow_job


@create_workflow_job(name="fetch-customer")
async def fetch_customer(input: str) -> str:
    return input
