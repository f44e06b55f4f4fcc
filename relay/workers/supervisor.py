"""The supervisor of a relay of several processes: the only one that opens the port, answers monitoring, reads the
configuration and looks after the store. It takes no webhook in and delivers nothing. See docs/decisions/0025.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import aiohttp

from relay.admin import Readiness
from relay.app import admin_side, check_fixed, recover
from relay.assembly import Assembly
from relay.clock import SystemClock
from relay.config import Address, Config
from relay.errors import StoreUnavailable
from relay.housekeeping import BacklogCount, Housekeeping
from relay.lifetime import Lifetime
from relay.listening import listen, private_runner, reserve
from relay.ports import Clock
from relay.server import check_library
from relay.share import deal, lanes_of
from relay.stores import open_store
from relay.telemetry import Telemetry
from relay.telemetry.sums import Snapshot, Sums
from relay.timekeeping import Timekeeping
from relay.workers.bells import pair
from relay.workers.channel import Apply, Begin
from relay.workers.crew import Crew

log = logging.getLogger("relay")

_RELEASE_TRIES = 5
"""How often a store that is busy is asked to give back what a dead worker held; else the leases run out."""
_RELEASE_PAUSE = 0.2


class Supervisor(Lifetime):
    """One running relay of several processes. Made by `supervising`."""

    def __init__(
        self,
        workers: int,
        *,
        telemetry: Telemetry,
        clock: Clock,
        log_style: Literal["json", "text"],
        log_level: str,
    ) -> None:
        super().__init__()
        self.telemetry = telemetry
        self.refusal: str | None = None
        """Why the newest configuration is not in force."""
        self.config: Config
        """The configuration in force."""
        self.gateway_address: Address
        self.admin_address: Address
        self._workers = workers
        self._clock = clock
        self._log_style = log_style
        self._log_level = log_level
        self._sums = Sums(telemetry.registry)
        self._dealt: Mapping[str, int] = {}
        self._bells = {number: pair() for number in range(1, workers + 1)}
        self._stack.callback(self._close_bells)

    async def start(self, config: Config) -> None:
        """Bring everything up, the workers last; raises StartError or StoreUnusable with nothing left running."""
        try:
            await self._start(config)
        except BaseException:
            await self.stop()
            raise

    async def _start(self, config: Config) -> None:
        check_library()
        self.store = await open_store(
            config.store.get_secret_value(), min_free=config.gateway.min_free, takes_turns=True
        )
        self._stack.push_async_callback(self.store.close)
        self.telemetry.follow(self.store)
        session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._stack.push_async_callback(session.close)
        self._assembly = Assembly(session=session, telemetry=self.telemetry, clock=self._clock)
        self._take(config)
        self.telemetry.config_applied(config.hash)
        self._timekeeping = Timekeeping(self.store, clock=self._clock, telemetry=self.telemetry)
        self.telemetry.recovered(await recover(self.store, self._clock, self._timekeeping))
        self._watch(self._timekeeping.run(), "timekeeping")
        self._watch(self.store.failed(), "store")
        await self._answer_monitoring(config)
        housekeeping = Housekeeping(self.store, config=lambda: self.config, clock=self._clock, telemetry=self.telemetry)
        self._watch(housekeeping.run(), "housekeeping")
        self.gateway_address = await reserve("gateway", config.gateway.listen, until=self._stack)
        self.crew = Crew(self._workers, self, restarted=self.telemetry.worker_restarted)
        self._stack.push_async_callback(self.crew.stop)
        await self.crew.start()
        self._watch(self.crew.failed(), "workers")

    async def _answer_monitoring(self, config: Config) -> None:
        self._backlog = BacklogCount(self.store, clock=self._clock, telemetry=self.telemetry)
        admin = admin_side(
            config.admin, self.store, exposition=self._exposition, readiness=self.readiness, clock=self._clock
        )
        self.admin_address = await listen(private_runner(admin), "admin", config.admin.listen, until=self._stack)

    def kill(self) -> None:
        """See `Lifetime.kill`."""
        self.crew.kill()

    @property
    def about(self) -> Mapping[str, object]:
        """See `Lifetime.about`."""
        return {"workers": self._workers}

    def _close_bells(self) -> None:
        for ends in self._bells.values():
            for end in ends:
                end.close()

    # What the crew asks

    def begin(self, number: int, owner: str) -> Begin:
        """See `Orders.begin`."""
        return Begin(
            number=number,
            workers=self._workers,
            owner=owner,
            config=self.config,
            lanes=self._lanes,
            listen=str(self.gateway_address),
            bell=self._bells[number][0].fileno(),
            bells={other: ends[1].fileno() for other, ends in self._bells.items() if other != number},
            log_style=self._log_style,
            log_level=self._log_level,
        )

    async def bury(self, owner: str, last: Snapshot) -> None:
        """See `Orders.bury`. What the dead one had begun is due again at once."""
        self._sums.bury(last)
        for _ in range(_RELEASE_TRIES):
            try:
                self.telemetry.recovered(await self.store.release(owner, now=self._clock.stamp()))
            except StoreUnavailable as error:
                self.telemetry.store_failed(error.kind, str(error))
                await asyncio.sleep(_RELEASE_PAUSE)
            else:
                return

    def lives(self, count: int) -> None:
        """See `Orders.lives`."""
        self.telemetry.workers(count)

    # Another configuration

    async def reload(self, config: Config) -> None:
        """Put another configuration in force everywhere; what is wrong with it is found before any worker hears of it.

        Raises:
            ConfigError: it changes what only a restart can change; nothing was changed.
        """
        check_fixed(self.config, config)
        self._take(config)
        self.refusal = None
        await self.crew.apply(Apply(config=config, lanes=self._lanes))
        self.telemetry.config_reloaded(config.hash)

    def refuse(self, problem: str) -> None:
        """Say that a new configuration was refused: in the log, in a gauge, and in the detail of `/readyz`."""
        self.refusal = problem
        self.telemetry.config_refused(problem)

    def _take(self, config: Config) -> None:
        self._assembly.make(config)  # whatever it raises: here, and not in the workers
        self._dealt = deal(config, self._dealt, workers=self._workers)
        self._lanes = lanes_of(config, self._dealt)
        self.config = config

    # Health and metrics

    async def readiness(self) -> Readiness:
        """Whether events can be taken in: some worker runs, and each that runs is ready. One that is being replaced is
        told, and no reason: the others have its share of the port."""
        await self.crew.look()
        checks = {"store": self.store.health().obstacle or "ok"}
        running = [place for place in self.crew.places if place.up]
        for place in running:
            for name, state in (place.readiness.checks if place.readiness else {}).items():
                if checks.get(name, "ok") == "ok":
                    checks[name] = state
        checks |= {f"sink {name}": "disabled" for name, options in self.config.sinks.items() if not options.enabled}
        checks |= {f"worker {place.number}": place.state for place in self.crew.places}
        checks["config"] = "ok" if self.refusal is None else f"the newest one was refused: {self.refusal}"
        if self._stopping:
            checks["relay"] = "stopping"
        ready = bool(running) and checks["store"] == "ok" and not self._stopping
        healthy = all(place.state == "ok" and (place.readiness is None or place.readiness.ready) for place in running)
        return Readiness(ready=ready and healthy, checks=checks)

    async def _exposition(self) -> bytes:
        await self.crew.look()
        self.telemetry.store_state(self.store.health())
        await self._backlog.count(list(self.config.sinks))
        living: Sequence[Snapshot] = [place.metrics for place in self.crew.places]
        return self._sums.exposition(living)


@asynccontextmanager
async def supervising(
    config: Config, *, workers: int, telemetry: Telemetry, log_style: Literal["json", "text"], log_level: str
) -> AsyncIterator[Supervisor]:
    """A relay of so many workers that runs inside the `async with`, and is stopped in order at its end."""
    clock = SystemClock()
    clock.on_jump(telemetry.clock_jumped)
    supervisor = Supervisor(workers, telemetry=telemetry, clock=clock, log_style=log_style, log_level=log_level)
    await supervisor.start(config)
    try:
        yield supervisor
    finally:
        await supervisor.stop()
