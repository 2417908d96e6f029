"""A job in a module of its own."""

from gqlplugin.job import create_workflow_job


@create_workflow_job(name="print-label")
async def print_label(input: str) -> str:
    return input
