"""A workflow whose main job reaches its jobs in every usual way."""

import tests.sample_shop.jobs.print_label
from gqlplugin.job import create_workflow_job
from gqlplugin.workflow import create_workflow
from tests.sample_shop import helpers
from tests.sample_shop.jobs import charge_card as cards
from tests.sample_shop.jobs.fetch_customer import fetch_customer


@create_workflow_job(name="process-order")
async def process_order(input: str) -> str:
    customer = await fetch_customer.trigger(input)
    await cards.charge_card.trigger(customer)
    await tests.sample_shop.jobs.print_label.print_label.trigger(customer)
    await helpers.notify(customer)
    return customer


order_processing = create_workflow(name="order-processing", main_job=process_order)
