"""Functions that trigger jobs, in another module than the jobs that call them."""

from tests.sample_shop.jobs import send_notification


async def notify(text: str) -> None:
    await send_notification.send_notification.trigger(text)
