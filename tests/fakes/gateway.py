"""A gateway alone, behind real HTTP, with a store and keys that follow a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from relay.clock import SystemClock
from relay.gateway import Gateway, Rules, Source
from relay.gateway.options import GatewayOptions, SourceOptions
from relay.keyring import PinnedKeys
from relay.listening import public_runner
from relay.model import Acceptance, Admission
from relay.ports import Intake, Keys, Signer
from relay.publickey import PublicKey
from relay.routing import RouteTable
from relay.telemetry import Telemetry
from tests.fakes.http import WAIT
from tests.fakes.keys import key_pair
from tests.running import Samples, Sender, samples, sender


class ScriptedIntake:
    """An `Intake` that commits when it is told to, or fails."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.error = error
        self.admitted: list[Admission] = []
        """What it was asked to commit."""
        self.asked = asyncio.Event()
        self.may_commit = asyncio.Event()
        self.may_commit.set()

    def hold(self) -> None:
        """Commit nothing until `may_commit` is set."""
        self.may_commit.clear()

    async def accept(self, admission: Admission) -> Acceptance:
        self.admitted.append(admission)
        self.asked.set()
        await self.may_commit.wait()
        if self.error is not None:
            raise self.error
        return Acceptance(event_id=admission.event.id)

    async def was_asked(self) -> None:
        """Return when a request has come so far."""
        async with asyncio.timeout(WAIT):
            await self.asked.wait()


class ScriptedKeys:
    """`Keys` that say what they are told."""

    def __init__(self, *known: PublicKey, fresh: bool = True, hangs: bool = False) -> None:
        self._known = known
        self._fresh = fresh
        self._hangs = hangs
        self.refreshed = 0

    def current(self) -> Sequence[Signer]:
        return self._known

    def fresh(self) -> bool:
        return self._fresh

    async def refresh(self) -> bool:
        self.refreshed += 1
        if self._hangs:
            await asyncio.Event().wait()
        return self._fresh


class GatewayServer(Sender):
    """A gateway that is served."""

    telemetry: Telemetry
    port: int

    def metrics(self) -> Samples:
        return samples(self.telemetry.exposition())


@asynccontextmanager
async def gateway_running(
    intake: Intake, *, keys: Keys | None = None, options: GatewayOptions | None = None, **source: Any
) -> AsyncIterator[GatewayServer]:
    """A gateway with one source on `/webhooks/dyte` and no routes."""
    trusted = keys or PinnedKeys([PublicKey.read(key_pair().public_pem)])
    one = Source(name="dyte", options=SourceOptions(**source), keys=trusted)
    rules = Rules(sources={"/webhooks/dyte": one}, table=RouteTable([], orders={}), config="hash")
    telemetry = Telemetry()
    options = options or GatewayOptions()
    gateway = Gateway(options, rules, intake, telemetry=telemetry, clock=SystemClock())
    runner = public_runner(gateway, options, telemetry)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        async with sender(f"http://127.0.0.1:{port}") as posting:
            server = GatewayServer(posting.session, posting.base)
            server.telemetry, server.port = telemetry, port
            yield server
    finally:
        await runner.cleanup()
