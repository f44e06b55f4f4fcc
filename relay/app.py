"""The composition root: builds every part from the configuration, and owns every lifetime."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import aiohttp
from aiohttp import web

from relay import sinks
from relay.admin import Admin, Readiness
from relay.clock import SystemClock
from relay.config import Address, Config, parse_address, source_path
from relay.dispatch import Dispatcher, Lane
from relay.dyte import PROVIDER_KEY_URLS
from relay.errors import RelayError, StartError, StoreUnavailable
from relay.gate import GateState
from relay.gateway import Gateway, Rules, Source, SourceOptions
from relay.keyring import FetchedKeys, PinnedKeys, fetch_document
from relay.pace import Pace
from relay.ports import Clock, Sink, Store
from relay.routing import RouteTable
from relay.stores import open_store, sqlite_path
from relay.telemetry import Telemetry

log = logging.getLogger("relay")

DRAIN = timedelta(seconds=5)
"""How long attempts under way may go on after the stop; then they are interrupted and their leases given back."""
_CLOSE_SINK = 6.0
_FINISH_ANSWERS = 3.0
"""No request outlives the gateway's hard end of 2.5 s."""
_KEEP_ALIVE = 15.0
_LINGER = 1.0
"""How long the rest of a body that was refused is read and thrown away, so that its sender sees the answer."""
_PURGE_EVERY = 60.0
_PURGE_AT_ONCE = 200
"""Events forgotten in one commit: few, so that no answer waits long behind it."""
_SAMPLE_AGE = 2.0
"""Seconds that a count of the backlog is good for; scrapes may come from several servers."""


class App:
    """One running relay. Made by `running`."""

    def __init__(self, config: Config, *, telemetry: Telemetry, clock: Clock) -> None:
        self.config = config
        self.telemetry = telemetry
        self._clock = clock
        self._stack = AsyncExitStack()
        self._background: set[asyncio.Task[object]] = set()
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._sampled_at = float("-inf")
        self.gateway_address: Address
        self.admin_address: Address

    async def start(self) -> None:
        """Bring everything up, the public side last; raises StartError or StoreUnusable with nothing left running."""
        try:
            await self._start()
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

    async def _start(self) -> None:
        config = self.config
        self.store = await open_store(config.store.get_secret_value())
        self._stack.push_async_callback(self.store.close)
        self.store.on_commit(self.telemetry.commit_took)
        self.sources = await self._build_sources()
        self.dispatcher = await self._build_dispatcher(self.store)
        self.telemetry.config_applied(config.hash)
        self.admin_address = await self._listen(
            Admin(exposition=self._exposition, readiness=self.readiness).application(), "admin", config.admin.listen
        )
        self._watch(self.store.failed(), "store")
        self._watch(self._purge_regularly(), "retention")
        self.dispatcher.start()
        self._stack.push_async_callback(self.dispatcher.stop)
        self._watch(self.dispatcher.failed(), "lanes")
        gateway = Gateway(config.gateway, self._rules(), self.store, telemetry=self.telemetry, clock=self._clock)
        self.gateway_address = await self._listen(
            gateway.application(), "gateway", config.gateway.listen, idle=gateway.idle
        )

    def _rules(self) -> Rules:
        config = self.config
        orders = {name: options.order for name, options in config.sinks.items()}
        return Rules(
            sources={source_path(source.name, source.options): source for source in self.sources},
            table=RouteTable(config.routes, orders=orders),
            config=config.hash,
        )

    async def _build_sources(self) -> list[Source]:
        session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._stack.push_async_callback(session.close)
        built = []
        for name, options in self.config.sources.items():
            keys = self._keys(name, options, session)
            self._watch(keys.run(), f"keys-{name}", lasting=isinstance(keys, FetchedKeys))
            built.append(Source(name=name, options=options, keys=keys))
        return built

    def _keys(self, name: str, options: SourceOptions, session: aiohttp.ClientSession) -> PinnedKeys | FetchedKeys:
        if options.pinned:
            return PinnedKeys(options.pinned)
        return FetchedKeys(
            name,
            url=options.public_key_url or PROVIDER_KEY_URLS[options.provider],
            cache=self._state_folder() / "keys" / f"{name}.json",
            fetch=lambda url: fetch_document(session, url),
            clock=self._clock,
            observer=self.telemetry,
        )

    async def _build_dispatcher(self, store: Store) -> Dispatcher:
        paces: dict[str, Pace] = {}
        lanes = []
        built = {name: sinks.build(name, options) for name, options in self.config.sinks.items()}
        self._stack.push_async_callback(_close_sinks, built)
        for name, options in self.config.sinks.items():
            if not options.enabled:
                continue
            pace = paces.setdefault(options.pacing_key(name), Pace(options.rate))
            lanes.append(
                Lane(
                    name,
                    built[name],
                    options,
                    store,
                    pace=pace,
                    telemetry=self.telemetry,
                    clock=self._clock,
                    rng=Random(),  # noqa: S311 - jitter, not a secret
                )
            )
        return Dispatcher(lanes, drain=DRAIN)

    def _state_folder(self) -> Path:
        """Where small files of ours lie: beside the store, or in `data` where the store is a server."""
        path = sqlite_path(self.config.store.get_secret_value())
        return Path("data") if path is None else path.parent

    async def _listen(
        self, application: web.Application, part: str, listen: str, *, idle: Callable[[], Awaitable[None]] | None = None
    ) -> Address:
        address = parse_address(listen)
        runner = make_runner(application)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, address.host, address.port, backlog=1024).start()
        except OSError as error:
            raise StartError(f"{part}.listen: cannot listen on {listen}: {_listen_problem(error)}") from error
        if idle is not None:
            self._stack.push_async_callback(_finish, runner, idle)
        return Address(host=address.host, port=runner.addresses[0][1])

    # Health and metrics

    async def readiness(self) -> Readiness:
        """Whether events can be taken in. A dead sink is no reason not to: its events wait in the store."""
        checks = {"store": "ok" if self.store.writable() else "cannot be written"}
        for source in self.sources:
            checks[f"key {source.name}"] = "ok" if source.keys.current() else "not fetched yet: webhooks get 503"
        if self._stopping:
            checks["relay"] = "stopping"
        ready = all(state == "ok" for state in checks.values())
        return Readiness(ready=ready, checks={**checks, **self._sink_checks()})

    def _sink_checks(self) -> Mapping[str, str]:
        lanes = self.dispatcher.lanes
        return {
            f"sink {name}": "disabled" if name not in lanes else _gate_text(lanes[name]) for name in self.config.sinks
        }

    async def _exposition(self) -> bytes:
        now = asyncio.get_running_loop().time()
        if now - self._sampled_at > _SAMPLE_AGE:
            self._sampled_at = now
            await self._sample()
        return self.telemetry.exposition()

    async def _sample(self) -> None:
        """Look up what is not counted as it happens."""
        self.telemetry.store_state(writable=self.store.writable(), free_bytes=self._free_bytes())
        for source in self.sources:
            if isinstance(source.keys, FetchedKeys) and (age := source.keys.age()) is not None:
                self.telemetry.key_age(source.name, age.total_seconds())
        try:
            backlog = await self.store.backlog()
        except StoreUnavailable as error:
            self.telemetry.store_failed(error.kind, str(error))
        else:
            self.telemetry.backlog(backlog, list(self.config.sinks), now=self._clock.now())

    def _free_bytes(self) -> int | None:
        path = sqlite_path(self.config.store.get_secret_value())
        if path is None:
            return None
        try:
            space = os.statvfs(path.parent)
        except OSError:  # the folder is gone: that shows in store_writable, and the other metrics are wanted now
            return None
        return space.f_bavail * space.f_frsize

    # Work in the background

    def _watch(self, work: object, name: str, *, lasting: bool = True) -> None:
        """Run something for as long as the relay runs; should it end, the relay has failed."""
        task: asyncio.Task[object] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        task.set_name(name)
        self._background.add(task)
        self._stack.push_async_callback(_cancel, task)

        def ended(task: asyncio.Task[object]) -> None:
            self._background.discard(task)
            if task.cancelled() or not lasting or self._failed.done():
                return
            result = task.exception() or task.result()
            error = result if isinstance(result, BaseException) else RelayError(f"{name} ended")
            self._failed.set_result(error)

        task.add_done_callback(ended)

    async def _purge_regularly(self) -> None:
        """Forget what is past its retention, a little at a time."""
        retention = self.config.retention
        while True:
            await asyncio.sleep(_PURGE_EVERY)
            now = self._clock.now()
            with contextlib.suppress(StoreUnavailable):  # counted where it matters; the next turn is near
                forgotten = _PURGE_AT_ONCE
                while forgotten == _PURGE_AT_ONCE:
                    forgotten = await self.store.purge(
                        delivered_before=now - retention.delivered,
                        dead_before=now - retention.dead,
                        limit=_PURGE_AT_ONCE,
                    )


@asynccontextmanager
async def running(
    config: Config, *, telemetry: Telemetry | None = None, clock: Clock | None = None
) -> AsyncIterator[App]:
    """A relay that runs inside the `async with`, and is stopped in order at its end."""
    app = App(config, telemetry=telemetry or Telemetry(), clock=clock or SystemClock())
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


def make_runner(application: web.Application) -> web.AppRunner:
    """A server for the application, with the limits that both sides keep."""
    return web.AppRunner(
        application,
        access_log=None,
        auto_decompress=False,  # the signature is over the bytes as they were sent
        keepalive_timeout=_KEEP_ALIVE,
        lingering_time=_LINGER,
        shutdown_timeout=_FINISH_ANSWERS,
    )


async def _finish(runner: web.AppRunner, idle: Callable[[], Awaitable[None]]) -> None:
    """Take nobody in any more, and answer who is here: aiohttp's own shutdown throws away what is left of a body."""
    for site in list(runner.sites):
        await site.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FINISH_ANSWERS):
            await idle()


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


def _listen_problem(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use; stop the other program, or choose another port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case errno.EACCES:
            return "not allowed; take a port above 1023"
        case _:
            return error.strerror or type(error).__name__
