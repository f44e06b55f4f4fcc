"""`relay demo --receivers`: show what arrives at the receivers of the demo."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from rich.emoji import Emoji

from relay.commands.consoles import out
from relay.commands.output import plain
from relay.commands.simulate import KEY_FOLDER
from relay.demo.kafka import Message
from relay.demo.play import TOPIC
from relay.demo.receivers import Request
from relay.demo.receiving import Told, receiving, write_variables
from relay.sinks.slack.cards import picture

VARIABLES = Path("data/receivers.env")


def stop_signal() -> asyncio.Event:
    """Set once somebody wants us to end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def receive() -> None:
    """Start the receivers, say where they are, and show what arrives until somebody ends it."""
    stop = stop_signal()
    async with receiving(KEY_FOLDER) as receivers:
        write_variables(VARIABLES, receivers.variables)
        out.print(f"Kafka         {receivers.kafka.bootstrap}, topic {TOPIC}", markup=False)
        out.print(f"Slack         {receivers.variables['SLACK_WEBHOOK_URL']}", markup=False)
        out.print(f"HTTP service  {receivers.variables['CRM_URL']}, which verifies signatures", markup=False)
        out.print(f"In each other terminal: . {VARIABLES}", style="bold", markup=False)
        out.print("What arrives is shown here. Ctrl-C ends it.", markup=False)
        telling = asyncio.create_task(receivers.tell(Told(kafka=_kafka, http=_http, slack=_slack)))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (telling, stopping):
            task.cancel()
        await asyncio.gather(telling, stopping, return_exceptions=True)


def _kafka(message: Message) -> None:
    said = f"Kafka  partition {message.partition}  key {message.key}  {message.headers.get('ce_type', '')}"
    out.print(plain(said), markup=False)


def _http(request: Request) -> None:
    verdict = "signature right" if request.genuine else "signature wrong"
    out.print(plain(f"HTTP   {request.headers.get('ce-type', '')}  {verdict}"), markup=False)


def _slack(message: dict[str, Any]) -> None:
    out.print("Slack", markup=False)
    out.print(picture(message, emoji=Emoji.replace), markup=False, emoji=False)
