"""The receivers of the demo without its relay, for a relay of one's own: a Kafka, an HTTP service, a Slack."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from relay.demo.kafka import DemoKafka, Message
from relay.demo.play import SECRET, TOPIC
from relay.demo.receivers import DemoServer, Request
from relay.model import value
from relay.simulator import SimulatorKey

SLACK_PATH, CRM_PATH = "/services/T000/B000/demo", "/crm"


@value
class Told:
    """Who is told of what arrives."""

    kafka: Callable[[Message], None]
    http: Callable[[Request], None]
    slack: Callable[[dict[str, Any]], None]


@value
class Receivers:
    """Everything that receives, and what a relay has to know of it."""

    kafka: DemoKafka
    server: DemoServer
    variables: Mapping[str, str]

    async def tell(self, told: Told) -> None:
        """Tell of each arrival, in the order of the receiver, for ever."""
        requests = messages = 0
        async for found in self.kafka.follow():
            if found is not None:
                told.kafka(found)
            for request in self.server.requests[requests:]:
                told.http(request)
            for message in self.server.messages[messages:]:
                told.slack(message)
            requests, messages = len(self.server.requests), len(self.server.messages)


@asynccontextmanager
async def receiving(folder: Path) -> AsyncIterator[Receivers]:
    """Start them, on free ports. `folder` is the simulator's, whose public key the relay shall trust."""
    async with AsyncExitStack() as stack:
        key = await asyncio.to_thread(SimulatorKey.load_or_create, folder)
        kafka = await stack.enter_async_context(DemoKafka(TOPIC))
        server = DemoServer(key, SECRET)
        runner = await server.start()
        stack.push_async_callback(runner.cleanup)
        variables = {
            "KAFKA_BROKER": kafka.bootstrap,
            "SLACK_WEBHOOK_URL": server.url + SLACK_PATH,
            "CRM_URL": server.url + CRM_PATH,
            "CRM_SECRET": SECRET,
            "RELAY_DYTE_PUBLIC_KEY": key.public_pem,
        }
        yield Receivers(kafka=kafka, server=server, variables=variables)


def write_variables(file: Path, variables: Mapping[str, str]) -> None:
    """A file for a shell to read with `.`; only its owner may."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"export {name}={shlex.quote(text)}\n" for name, text in variables.items())
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
