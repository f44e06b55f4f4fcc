"""The composition root: builds every part from the configuration, and owns every lifetime."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import aiohttp
from aiohttp import web

from relay.admin import Admin, AdminOptions, Readiness
from relay.admin.access import Access
from relay.admin.api import Api
from relay.assembly import Assembly, Parts, changed_sinks, close_sinks
from relay.clock import SystemClock
from relay.config import Address, Config
from relay.dispatch import Dispatcher
from relay.drift import DriftAlarm, WatchedIntake
from relay.errors import ConfigError, StartError, StoreUnavailable
from relay.gateway import Gateway, Source
from relay.housekeeping import BacklogCount, Housekeeping
from relay.keyring import FetchedKeys
from relay.lane import Lane
from relay.lifetime import Lifetime
from relay.listening import listen, private_runner, public_runner
from relay.model import GateState, Selection
from relay.ports import Clock, Store
from relay.replaying import Schedule, replay
from relay.seating import Seating
from relay.server import check_library
from relay.share import Share
from relay.stores import open_store
from relay.telemetry import Telemetry
from relay.timekeeping import Timekeeping

log = logging.getLogger("relay")

DRAIN = timedelta(seconds=5)
"""How long attempts under way may go on after the stop; then they are interrupted and their leases given back."""
_LONGEST_HANDOVER = timedelta(seconds=60)
"""How long attempts under way may go on at a reload, which nobody waits for."""
_SETTLE = timedelta(seconds=1)
FIXED = ("store", "gateway", "admin")
"""Parts of the configuration that are fixed for as long as the process runs: its file and its sockets."""


class App(Lifetime):
    """One running relay, or one worker's share of it. Made by `running`."""

    def __init__(self, *, telemetry: Telemetry, clock: Clock, share: Share | None = None) -> None:
        super().__init__()
        self.telemetry = telemetry
        self._clock = clock
        self._share = share
        self._public: web.BaseRunner | None = None
        self._key_tasks: dict[FetchedKeys, asyncio.Task[object]] = {}
        self.parts: Parts
        """What is in force."""
        self.refusal: str | None = None
        """Why the newest configuration is not in force."""
        self.gateway_address: Address
        self.admin_address: Address

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.parts.config

    @property
    def sources(self) -> Sequence[Source]:
        """The sources in force."""
        return self.parts.sources

    async def start(self, config: Config) -> None:
        """Bring everything up, the public side last; raises StartError or StoreUnusable with nothing left running."""
        try:
            await self._start(config)
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self, config: Config) -> None:
        check_library()
        share = self._share
        self.store = await open_store(
            config.store.get_secret_value(),
            min_free=config.gateway.min_free,
            owner=None if share is None else share.owner,
            upkeep=share is None,
            takes_turns=share is not None,
        )
        self._stack.push_async_callback(self.store.close)
        self.telemetry.follow(self.store)
        session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._stack.push_async_callback(session.close)
        self._assembly = Assembly(session=session, telemetry=self.telemetry, clock=self._clock)
        self.parts = self._assembly.make(config)
        self._watch_keys(self.parts)
        self._stack.push_async_callback(lambda: close_sinks(self.parts.sinks))
        lanes = self._lanes(self.parts, config.sinks, share)
        seating = Seating(self.store, clock=self._clock, telemetry=self.telemetry)
        self.dispatcher = Dispatcher(lanes, drain=DRAIN, seating=seating)
        self.telemetry.config_applied(config.hash)
        self._timekeeping = Timekeeping(self.store, clock=self._clock, telemetry=self.telemetry)
        self.telemetry.recovered(await recover(self.store, self._clock, self._timekeeping))
        self.dispatcher.obey(await self.store.wishes())
        self._watch(self.store.failed(), "store")
        self._watch(self._timekeeping.run(), "timekeeping")
        if share is None:
            await self._stand_alone(config)
        self.dispatcher.start()
        self._stack.push_async_callback(self.dispatcher.stop)
        self._watch(self.dispatcher.failed(), "lanes")
        self._watch(self.dispatcher.keep_seats(), "seats")
        self._watch(self.dispatcher.follow(self.store, clock=self._clock, telemetry=self.telemetry), "wishes")
        await self._open_gateway(config)

    async def _open_gateway(self, config: Config) -> None:
        share = self._share
        options = config.gateway if share is None else config.gateway.shared_out(share.workers)
        accepting = self.store if share is None else share.bells.join(self.store)
        intake = WatchedIntake(accepting, DriftAlarm(self.telemetry))
        self._gateway = Gateway(options, self.parts.rules, intake, telemetry=self.telemetry, clock=self._clock)
        self._public = public_runner(self._gateway, options, self.telemetry)
        self.gateway_address = await listen(
            self._public,
            "gateway",
            options.listen if share is None else share.listen,
            until=self._stack,
            idle=self._gateway.idle,
            beside_others=share is not None,
        )

    async def _stand_alone(self, config: Config) -> None:
        """What a supervisor does for all of its workers: it answers monitoring, and looks after the store."""
        self.housekeeping = Housekeeping(
            self.store, config=lambda: self.config, clock=self._clock, telemetry=self.telemetry
        )
        self.backlog = BacklogCount(self.store, clock=self._clock, telemetry=self.telemetry)
        admin = admin_side(
            config.admin, self.store, exposition=self._exposition, readiness=self.readiness, clock=self._clock
        )
        self.admin_address = await listen(private_runner(admin), "admin", config.admin.listen, until=self._stack)
        self._watch(self.housekeeping.run(), "housekeeping")

    def _lanes(self, parts: Parts, names: Collection[str], share: Share | None) -> list[Lane]:
        mine = names if share is None else share.mine
        return self._assembly.lanes(parts, self.store, names=[name for name in names if name in mine])

    # Another configuration

    async def reload(
        self, config: Config, *, lanes: Mapping[str, int] | None = None, applied: Callable[[], None] = lambda: None
    ) -> None:
        """Put another configuration in force without losing a request.

        All that can fail happens first. Sources and sinks that it does not change keep their keys, connections and
        state. What waits for a sink that is gone stays in the store, and is counted. `lanes` deals the sinks anew among
        workers; `applied` is called as soon as the configuration is in force, when old lanes may still be ending.

        Raises:
            ConfigError: it changes what only a restart can change; nothing was changed.
        """
        before = self.parts
        check_fixed(before.config, config)
        share = self._share if self._share is None or lanes is None else replace(self._share, lanes=lanes)
        parts = self._assembly.make(config, before=before)
        begun = self._lanes(parts, changed_sinks(before.config, config), share)
        # From here on nothing fails, and all of it is in force before anything is awaited.
        self.parts, self._gateway.rules, self.refusal, self._share = parts, parts.rules, None, share
        if share is not None:
            share.bells.lanes = share.lanes
        gone = [name for name, sink in before.sinks.items() if parts.sinks.get(name) is not sink]
        ended = [lane for name in gone if (lane := self._take_out(name)) is not None]
        for lane in begun:
            self.dispatcher.put(lane)
        self._watch_keys(parts)
        self.telemetry.config_reloaded(config.hash)
        applied()
        # Nothing hurries: what is cut off now may have arrived, and would be sent once more.
        longest = max((before.config.sinks[name].timeout for name in gone), default=timedelta(0))
        await self.dispatcher.end(ended, patience=min(longest + _SETTLE, _LONGEST_HANDOVER))
        await close_sinks({name: before.sinks[name] for name in gone})

    def refuse(self, problem: str) -> None:
        """Say that a new configuration was refused: in the log, in a gauge, and in the detail of `/readyz`."""
        self.refusal = problem
        self.telemetry.config_refused(problem)

    def _take_out(self, name: str) -> Lane | None:
        lane = self.dispatcher.take_out(name)
        if lane is not None:
            self.telemetry.sink_removed(name)
        return lane

    def _watch_keys(self, parts: Parts) -> None:
        """Fetch what wants to be fetched, and no longer what does not."""
        wanted = set(parts.fetched.values())
        for keys in self._key_tasks.keys() - wanted:
            self._key_tasks.pop(keys).cancel()
        for keys in wanted - self._key_tasks.keys():
            self._key_tasks[keys] = self._watch(keys.run(), "keys")

    # Health and metrics

    async def readiness(self) -> Readiness:
        """Whether events can be taken in. A dead sink is no reason not to: its events wait in the store."""
        checks = {"store": self.store.health().obstacle or "ok"}
        for source in self.sources:
            checks[f"key {source.name}"] = "ok" if source.keys.current() else "not fetched yet: webhooks get 503"
        if self._stopping:
            checks["relay"] = "stopping"
        ready = all(state == "ok" for state in checks.values())
        config = "ok" if self.refusal is None else f"the newest one was refused: {self.refusal}"
        checks |= {**self._sink_checks(), "config": config}
        if self._timekeeping.state is not None:
            checks["clock"] = self._timekeeping.state
        return Readiness(ready=ready, checks=checks)

    def _sink_checks(self) -> Mapping[str, str]:
        lanes = self.dispatcher.lanes
        asked = self.config.sinks if self._share is None else lanes
        return {f"sink {name}": "disabled" if name not in lanes else _gate_text(lanes[name]) for name in asked}

    def measure(self) -> None:
        """Look up what is not counted as it happens, and costs nothing to know."""
        self.telemetry.store_state(self.store.health())
        self.dispatcher.measure(self.telemetry)
        public = None if self._public is None else self._public.server
        self.telemetry.open_connections(0 if public is None else len(public.connections))
        for source in self.sources:
            if isinstance(source.keys, FetchedKeys) and (age := source.keys.age()) is not None:
                self.telemetry.key_age(source.name, age.total_seconds())

    async def _exposition(self) -> bytes:
        self.measure()
        await self.backlog.count(list(self.config.sinks))
        return self.telemetry.exposition()


@asynccontextmanager
async def running(
    config: Config, *, telemetry: Telemetry | None = None, clock: Clock | None = None, share: Share | None = None
) -> AsyncIterator[App]:
    """A relay that runs inside the `async with`, and is stopped in order at its end; with a `share`, a worker's part of
    it."""
    telemetry, clock = telemetry or Telemetry(), clock or SystemClock()
    clock.on_jump(telemetry.clock_jumped)
    app = App(telemetry=telemetry, clock=clock, share=share)
    await app.start(config)
    try:
        yield app
    finally:
        await app.stop()


async def recover(store: Store, clock: Clock, timekeeping: Timekeeping) -> int:
    """Learn what time it is, and give back at once what an earlier process had begun when it died; how much that
    was."""
    try:
        await timekeeping.begin()
        return await store.recover(now=clock.stamp())
    except StoreUnavailable as error:
        raise StartError(f"{error}; the store cannot be written: see what holds it, or free space") from error


def check_fixed(before: Config, after: Config) -> None:
    """Raises ConfigError where another configuration changes what only a restart can change."""
    if fixed := [key for key in FIXED if getattr(after, key) != getattr(before, key)]:
        raise ConfigError(f"{', '.join(fixed)}: cannot change while the relay runs; restart it")


def admin_side(
    options: AdminOptions,
    store: Store,
    *,
    exposition: Callable[[], Awaitable[bytes]],
    readiness: Callable[[], Awaitable[Readiness]],
    clock: Clock,
) -> Admin:
    """The private side of a relay."""

    async def again(selection: Selection, spacing: timedelta) -> int:
        return await replay(store, selection, Schedule(began=clock.stamp(), spacing=spacing))

    access = Access(options.token, now=asyncio.get_running_loop().time)
    api = Api(store, access=access, replay=again, clock=clock)
    return Admin(exposition=exposition, readiness=readiness, api=api)


def _gate_text(lane: Lane) -> str:
    gate = lane.gate
    if not lane.seated:
        return "no seat: another node has it and keeps the limit, unless the store is away"
    if gate.state is GateState.OPEN or gate.failure is None:
        return "ok"
    return f"{gate.state}: {gate.failure.reason}: {gate.failure.detail}"
