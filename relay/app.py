"""The composition root: builds every part from the configuration, and owns every lifetime."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import aiohttp
from aiohttp import web

from relay.admin import Admin, AdminOptions, Readiness
from relay.admin.access import Access
from relay.admin.api import Api
from relay.assembly import Assembly, Parts, changed_sinks
from relay.clock import SystemClock
from relay.config import Address, Config
from relay.dispatch import Dispatcher
from relay.drift import DriftAlarm, WatchedIntake
from relay.errors import ConfigError, RelayError, StartError, StoreUnavailable
from relay.gateway import Gateway, Source
from relay.housekeeping import Housekeeping
from relay.keyring import FetchedKeys
from relay.lane import Lane
from relay.listening import listen, private_runner, public_runner
from relay.model import GateState, Selection
from relay.ports import Clock, Sink
from relay.replaying import Schedule, replay
from relay.server import check_library
from relay.stores import open_store
from relay.telemetry import Telemetry

log = logging.getLogger("relay")

DRAIN = timedelta(seconds=5)
"""How long attempts under way may go on after the stop; then they are interrupted and their leases given back."""
_LONGEST_HANDOVER = timedelta(seconds=60)
"""How long attempts under way may go on at a reload, which nobody waits for."""
_SETTLE = timedelta(seconds=1)
_CLOSE_SINK = 6.0
_FIXED = ("store", "gateway", "admin")
"""Parts of the configuration that are fixed for as long as the process runs: its file and its sockets."""
_SAMPLE_AGE = 2.0
"""Seconds that a count of the backlog is good for; scrapes may come from several servers."""
_SAMPLE_COST = 20
"""A count is good for so many times as long as it took: one of millions is not made at each scrape."""


class App:
    """One running relay. Made by `running`."""

    def __init__(self, *, telemetry: Telemetry, clock: Clock) -> None:
        self.telemetry = telemetry
        self._clock = clock
        self._stack = AsyncExitStack()
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._sample_again = float("-inf")
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

    async def failed(self) -> BaseException:
        """Return what made it impossible to go on: a store that gave up, or a part that ended by an error of ours."""
        return await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Answer what came, finish or give back what is under way, and let go of everything."""
        self._stopping = True
        await self._stack.aclose()

    async def _start(self, config: Config) -> None:
        check_library()
        self.store = await open_store(config.store.get_secret_value(), min_free=config.gateway.min_free)
        self._stack.push_async_callback(self.store.close)
        self.housekeeping = Housekeeping(
            self.store, config=lambda: self.config, clock=self._clock, telemetry=self.telemetry
        )
        self.store.on_commit(self.telemetry.commit_took)
        self.store.on_checkpoint(self.telemetry.checkpointed)
        session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._stack.push_async_callback(session.close)
        self._assembly = Assembly(session=session, telemetry=self.telemetry, clock=self._clock)
        self.parts = self._assembly.make(config)
        self._watch_keys(self.parts)
        self._stack.push_async_callback(lambda: _close_sinks(self.parts.sinks))
        lanes = self._assembly.lanes(self.parts, self.store, names=config.sinks)
        self.dispatcher = Dispatcher(lanes, drain=DRAIN)
        self.telemetry.config_applied(config.hash)
        self.telemetry.recovered(await self._recover())
        self.dispatcher.obey(await self.store.wishes())
        admin = private_runner(self._admin(config.admin))
        self.admin_address = await listen(admin, "admin", config.admin.listen, until=self._stack)
        self._watch(self.store.failed(), "store")
        self._watch(self.housekeeping.run(), "housekeeping")
        self.dispatcher.start()
        self._stack.push_async_callback(self.dispatcher.stop)
        self._watch(self.dispatcher.failed(), "lanes")
        self._watch(self.dispatcher.follow(self.store, clock=self._clock, telemetry=self.telemetry), "wishes")
        rules = self.parts.rules
        intake = WatchedIntake(self.store, DriftAlarm(self.telemetry))
        self._gateway = Gateway(config.gateway, rules, intake, telemetry=self.telemetry, clock=self._clock)
        self._public = public_runner(self._gateway, config.gateway, self.telemetry)
        self.gateway_address = await listen(
            self._public, "gateway", config.gateway.listen, until=self._stack, idle=self._gateway.idle
        )

    def _admin(self, options: AdminOptions) -> Admin:
        access = Access(options.token, now=asyncio.get_running_loop().time)
        api = Api(self.store, access=access, replay=self._replay, clock=self._clock)
        return Admin(exposition=self._exposition, readiness=self.readiness, api=api)

    async def _replay(self, selection: Selection, spacing: timedelta) -> int:
        return await replay(self.store, selection, Schedule(began=self._clock.now(), spacing=spacing))

    async def _recover(self) -> int:
        """Give back at once what an earlier process had begun when it died."""
        try:
            return await self.store.recover(now=self._clock.now())
        except StoreUnavailable as error:
            raise StartError(f"{error}; the store cannot be written: see what holds it, or free space") from error

    # Another configuration

    async def reload(self, config: Config) -> None:
        """Put another configuration in force without losing a request.

        All that can fail happens first. Sources and sinks that it does not change keep their keys, connections and
        state. What waits for a sink that is gone stays in the store, and is counted.

        Raises:
            ConfigError: it changes what only a restart can change; nothing was changed.
        """
        before = self.parts
        if fixed := [key for key in _FIXED if getattr(config, key) != getattr(before.config, key)]:
            raise ConfigError(f"{', '.join(fixed)}: cannot change while the relay runs; restart it")
        parts = self._assembly.make(config, before=before)
        begun = self._assembly.lanes(parts, self.store, names=changed_sinks(before.config, config))
        # From here on nothing fails, and all of it is in force before anything is awaited.
        self.parts, self._gateway.rules, self.refusal = parts, parts.rules, None
        gone = [name for name, sink in before.sinks.items() if parts.sinks.get(name) is not sink]
        ended = [lane for name in gone if (lane := self._take_out(name)) is not None]
        for lane in begun:
            self.dispatcher.put(lane)
        self._watch_keys(parts)
        self.telemetry.config_reloaded(config.hash)
        # Nothing hurries: what is cut off now may have arrived, and would be sent once more.
        longest = max((before.config.sinks[name].timeout for name in gone), default=timedelta(0))
        await self.dispatcher.end(ended, patience=min(longest + _SETTLE, _LONGEST_HANDOVER))
        await _close_sinks({name: before.sinks[name] for name in gone})

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
        return Readiness(ready=ready, checks={**checks, **self._sink_checks(), "config": config})

    def _sink_checks(self) -> Mapping[str, str]:
        lanes = self.dispatcher.lanes
        return {
            f"sink {name}": "disabled" if name not in lanes else _gate_text(lanes[name]) for name in self.config.sinks
        }

    async def _exposition(self) -> bytes:
        loop = asyncio.get_running_loop()
        self.telemetry.store_state(self.store.health())
        public = None if self._public is None else self._public.server
        self.telemetry.open_connections(0 if public is None else len(public.connections))
        if loop.time() >= self._sample_again:
            started = loop.time()
            self._sample_again = started + _SAMPLE_AGE
            await self._sample()
            self._sample_again = started + max(_SAMPLE_AGE, _SAMPLE_COST * (loop.time() - started))
        return self.telemetry.exposition()

    async def _sample(self) -> None:
        """Look up what is not counted as it happens."""
        for source in self.sources:
            if isinstance(source.keys, FetchedKeys) and (age := source.keys.age()) is not None:
                self.telemetry.key_age(source.name, age.total_seconds())
        try:
            backlog = await self.store.backlog()
        except StoreUnavailable as error:
            self.telemetry.store_failed(error.kind, str(error))
        else:
            self.telemetry.backlog(backlog, list(self.config.sinks), now=self._clock.now())

    # Work in the background

    def _watch(self, work: object, name: str) -> asyncio.Task[object]:
        """Run something for as long as the relay runs; should it end, the relay has failed."""
        task: asyncio.Task[object] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        task.set_name(name)
        self._stack.push_async_callback(_cancel, task)

        def ended(task: asyncio.Task[object]) -> None:
            if task.cancelled() or self._failed.done():
                return
            result = task.exception() or task.result()
            error = result if isinstance(result, BaseException) else RelayError(f"{name} ended")
            self._failed.set_result(error)

        task.add_done_callback(ended)
        return task


@asynccontextmanager
async def running(
    config: Config, *, telemetry: Telemetry | None = None, clock: Clock | None = None
) -> AsyncIterator[App]:
    """A relay that runs inside the `async with`, and is stopped in order at its end."""
    telemetry, clock = telemetry or Telemetry(), clock or SystemClock()
    clock.on_jump(telemetry.clock_jumped)
    app = App(telemetry=telemetry, clock=clock)
    await app.start(config)
    try:
        yield app
    finally:
        await app.stop()


async def _close_sinks(built: Mapping[str, Sink]) -> None:
    """All at the same time: each may take its seconds, and several dead ones must not add up."""
    await asyncio.gather(*(_close_sink(name, sink) for name, sink in built.items()))


async def _close_sink(name: str, sink: Sink) -> None:
    """A sink that cannot let go must not keep the process."""
    try:
        async with asyncio.timeout(_CLOSE_SINK):
            await sink.close()
    except TimeoutError:
        log.warning("sink.close_timed_out", extra={"sink": name})


async def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _gate_text(lane: Lane) -> str:
    gate = lane.gate
    if gate.state is GateState.OPEN or gate.failure is None:
        return "ok"
    return f"{gate.state}: {gate.failure.reason}: {gate.failure.detail}"
