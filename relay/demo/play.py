"""The demo itself: start everything, post meetings, see what arrived, and count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from relay.app import App, running
from relay.config import load
from relay.demo.kafka import DemoKafka, Message
from relay.demo.receivers import DemoServer
from relay.errors import RelayError
from relay.model import value
from relay.simulator import SimulatorKey, simulate
from relay.simulator.posting import Report, post_all

TOPIC = "dyte.events"
SECRET = "whsec_ZGVtby1vbmx5LWRlbW8tb25seS1kZW1vLW9ubHktMTIz"  # noqa: S105 - of a receiver that lives for seconds
_DRAIN_SECONDS = 60.0

CONFIG = """\
# Written by `relay demo`: every kind of sink, on loopback.
store: sqlite:///{folder}/relay.db
gateway: {{listen: "127.0.0.1:{gateway_port}"}}
admin: {{listen: "127.0.0.1:{admin_port}"}}

sources:
  dyte: {{provider: dyte, public_key_url: "{server}/.well-known/webhooks.json"}}
  realtimekit: {{provider: realtimekit, public_key_url: "{server}/.well-known/webhooks.json"}}

sinks:
  events: {{type: kafka, bootstrap_servers: ["{kafka}"], topic: {topic}}}
  crm: {{type: http, url: "{server}/crm", secret: "{secret}", allow_private: true}}
  # Slack itself takes one message a second for each channel, which is the default; this one is patient.
  oncall: {{type: slack, webhook_url: "{server}/services/T000/B000/demo", rate: 50/s}}
  audit: {{type: file, path: "{folder}/events.jsonl"}}

routes:
  - {{name: everything, events: ["*"], to: [events, audit]}}
  - {{name: people, events: ["meeting.participant*"], to: [crm]}}
  - {{name: recordings, events: ["recording.*"], where: "recording.status == 'UPLOADED'", to: [crm, oncall]}}
  - {{name: endings, events: [meeting.ended, meeting.summary], to: [oncall]}}
"""


@value
class Stage:
    """Everything that runs."""

    app: App
    folder: Path
    key: SimulatorKey
    kafka: DemoKafka
    server: DemoServer

    @property
    def urls(self) -> dict[str, str]:
        """Where each provider posts, by its header family."""
        base = f"http://{self.app.gateway_address}/webhooks"
        return {"dyte": f"{base}/dyte", "rtk": f"{base}/realtimekit"}


@value
class Arrived:
    """What was found at the other ends."""

    posted: Report
    expected: dict[str, int]
    """Deliveries that the ledger promises, by sink."""
    found: dict[str, int]
    """What each receiver really has."""
    messages: Sequence[Message]
    lines: Sequence[str]

    @property
    def complete(self) -> bool:
        """Whether everything that was promised is there, and nothing was refused."""
        return self.expected == self.found and self.posted.failed == 0 and sum(self.found.values()) > 0


@asynccontextmanager
async def staged(folder: Path, *, gateway_port: int = 0, admin_port: int = 0) -> AsyncIterator[Stage]:
    """Start the receivers, then the relay with a relay.yaml that names them."""
    async with AsyncExitStack() as stack:
        key = SimulatorKey.load_or_create(folder / "simulator")
        kafka = await stack.enter_async_context(DemoKafka(TOPIC))
        server = DemoServer(key, SECRET)
        runner = await server.start()
        stack.push_async_callback(runner.cleanup)
        file = folder / "relay.yaml"
        text = CONFIG.format(
            folder=folder,
            gateway_port=gateway_port,
            admin_port=admin_port,
            server=server.url,
            kafka=kafka.bootstrap,
            topic=TOPIC,
            secret=SECRET,
        )
        await asyncio.to_thread(file.write_text, text, "utf-8")
        app = await stack.enter_async_context(running(load(file, {})))
        yield Stage(app=app, folder=folder, key=key, kafka=kafka, server=server)


async def play(stage: Stage, *, meetings: int, told: Callable[[Report], None]) -> Arrived:
    """Post meetings of both providers, a tenth of the webhooks twice, wait until all is delivered, and look."""
    start = datetime.now(UTC) - timedelta(hours=1)
    webhooks = chain(
        simulate(stage.key, meetings=meetings, provider="dyte", seed="demo", duplicates=0.1, start=start),
        simulate(stage.key, meetings=meetings, provider="realtimekit", seed="demo", duplicates=0.1, start=start),
    )
    await _until(lambda: _has_keys(stage.app), "the public keys")
    report = await post_all(webhooks, urls=stage.urls, told=told)
    await _until(lambda: _is_drained(stage.app), "the deliveries")
    expected = await _promised(stage.app)
    messages = await stage.kafka.read(expected.get("events", 0))
    lines = (await asyncio.to_thread((stage.folder / "events.jsonl").read_text, "utf-8")).splitlines()
    found = {
        "audit": len(lines),
        "crm": sum(request.genuine for request in stage.server.requests),
        "events": len(messages),
        "oncall": len(stage.server.messages),
    }
    return Arrived(posted=report, expected=expected, found=found, messages=messages, lines=lines)


async def _has_keys(app: App) -> bool:
    return (await app.readiness()).ready


async def _is_drained(app: App) -> bool:
    return not await app.store.backlog()


async def _promised(app: App) -> dict[str, int]:
    """Deliveries by sink, from the ledger."""
    return {sink: len(await app.store.deliveries(sink=sink, limit=1_000_000)) for sink in sorted(app.config.sinks)}


async def _until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Look again and again, for a minute at most."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _DRAIN_SECONDS
    while not await condition():
        if loop.time() > deadline:
            raise RelayError(f"{what} did not come within {_DRAIN_SECONDS:g} s; the log above says why")
        await asyncio.sleep(0.05)
