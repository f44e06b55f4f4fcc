"""Start, load, kill, start again; now and then let everything arrive, and collect what did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from signal import SIGKILL

import orjson

from tests.crash import stored
from tests.crash.doomed import Plan
from tests.crash.history import Arrival, History, digest_of, problems
from tests.crash.points import POINTS, SERVE, Point
from tests.crash.process import IN_FLIGHT, ORDERED, TIMEOUTS, UNDER_WAY, RelayProcess, write_config
from tests.crash.receiver import Receiver, Served, serving
from tests.crash.senders import MEETINGS, Senders, sending
from tests.fakes.keys import key_pair
from tests.running import until

WHOLE = Plan(quick_probes=True)
CHECK_EVERY = 25
"""Cycles after which everything is let arrive, and checked: a long run must not find at its end what broke early."""
LIFE = 260
_SENDERS = 32
_MOST_WAITING = 200
_SOME = 20
"""Acknowledged events that make a store one that holds something."""
_KILL_EARLY = 0.15
"""Share of the relays that are killed as they start: a crash while the last crash is made good."""
_DRAIN_TIME = 45.0
"""Seconds. Less than a lease lasts: one that the next relay does not give back at once is seen."""
_SOON = 30.0
"""Seconds within which a relay under load passes each of its points."""


class Stage:
    """One store, its receivers and its senders, and the relays that come and go between them."""

    def __init__(
        self, folder: Path, config: Path, *, senders: Senders, receivers: Sequence[Receiver], served: Served
    ) -> None:
        self.history = senders.history
        self._folder = folder
        self._config = config
        self._senders = senders
        self._receivers = receivers
        self._served = served
        self._lines_end = 0

    async def start(self, plan: Plan, *, command: Sequence[str] = SERVE) -> RelayProcess:
        return await RelayProcess.start(self._config, plan, command=command)

    def keep_pace(self) -> None:
        """From now on acknowledge no more than is delivered, so that kills hit deliveries as often as answers."""
        self._senders.enough = lambda: (
            self.history.acknowledged - min(len(receiver.done) for receiver in self._receivers) > _MOST_WAITING
        )

    async def load(self, relay: RelayProcess) -> None:
        """Let the senders at it, if it lives long enough to listen."""
        address = await relay.listening()
        if address is not None:
            self._senders.go_on(address)

    async def copies(self, relay: RelayProcess, count: int) -> None:
        """Post one webhook so often at the same time, in the midst of all others.

        It is of a type whose body may honestly come again, so only the uuid tells that it is the same.
        """
        self._senders.go_on(await relay.address())
        await self._senders.post(copies=count, kind="something.new")

    async def loaded(self, relay: RelayProcess, *, more: int) -> None:
        """Return when so many more events are acknowledged."""
        wanted = self.history.acknowledged + more
        address = await relay.address()

        async def enough() -> bool:
            self._senders.go_on(address)  # again: one of several workers that dies takes connections with it
            return self.history.acknowledged >= wanted

        await until(enough, f"{more} more acknowledged events", timeout=_SOON)

    async def logged(self, relay: RelayProcess, moment: str, count: int) -> None:
        """Return when it has said this so often."""

        async def often() -> bool:
            return relay.moments[moment] >= count

        await until(often, f"{count} times {moment}", timeout=_SOON)

    async def killed(self, relay: RelayProcess) -> None:
        await relay.kill()
        await self._buried()

    async def stopped(self, relay: RelayProcess) -> None:
        """SIGTERM in the midst of the load; it must end in order."""
        await relay.stop()
        await self._buried()

    async def died(self, relay: RelayProcess, point: str) -> None:
        """Wait for a relay that dies by itself."""
        code = await relay.ended()
        assert code == -SIGKILL, f"{point}: the relay was to be killed there, but ended with {code}: {relay.told()}"
        await self._buried()

    async def _buried(self) -> None:
        """What the dead one had sent is read before another one begins: a network that holds a request back for longer
        than a restart takes puts any two of them out of order, and no sender can help it."""
        self.history.kills += 1

        async def idle() -> bool:
            return self._served.at_work == sum(receiver.lingering for receiver in self._receivers)

        await until(idle, "end of the connections of a dead relay", timeout=_SOON)

    async def drain(self) -> None:
        """Let a last relay deliver all that is left, and collect what the file and the store have."""
        self._senders.pause()
        relay = await self.start(WHOLE)

        async def drained() -> bool:
            return not await asyncio.to_thread(stored.waits, self._folder / "relay.db")

        try:
            await relay.address()
            await until(drained, "empty backlog", timeout=_DRAIN_TIME)
            await relay.stop()
        finally:
            await relay.gone()
        self._read_file()
        self.history.stored = await asyncio.to_thread(stored.look, self._folder / "relay.db", sinks=len(IN_FLIGHT))

    def problems(self) -> list[str]:
        return problems(self.history, under_way=UNDER_WAY, ordered=ORDERED)

    def _read_file(self) -> None:
        """The file sink's new lines; one that a kill has cut off did not arrive."""
        path = self._folder / "events.jsonl"
        path.touch()
        with path.open("rb") as file:
            file.seek(self._lines_end)
            for line in file:
                self._lines_end += len(line)
                try:
                    event_id = orjson.loads(line)["id"]
                except orjson.JSONDecodeError:
                    continue
                body = line[line.index(b',"data":') + len(b',"data":') : -len(b"}\n")]
                self.history.arrived["file"].append(Arrival(event_id, digest_of(body)))


@asynccontextmanager
async def stage(folder: Path, rng: Random, *, meetings: int = MEETINGS) -> AsyncIterator[Stage]:
    """Set everything up but the relay."""
    history = History(arrived={sink: [] for sink in IN_FLIGHT})
    receivers = {
        sink: Receiver(history.arrived[sink], Random(rng.random()), patience=TIMEOUTS[sink])
        for sink in ("http", "free")
    }
    async with serving({sink: receiver.take for sink, receiver in receivers.items()}) as served:
        config = write_config(folder, public_key=key_pair().public_pem, receivers=served.url)
        try:
            async with sending(history, Random(rng.random()), _SENDERS, meetings=meetings) as senders:
                yield Stage(folder, config, senders=senders, receivers=list(receivers.values()), served=served)
        finally:
            for receiver in receivers.values():
                receiver.end()


async def run(
    folder: Path,
    *,
    cycles: int,
    seed: int,
    life: int = LIFE,
    told: Callable[[History, list[str]], None] = lambda *_: None,
) -> tuple[History, list[str]]:
    """Kill a relay so many times, at any moment; what happened, and all that is wrong with it.

    `life` is what the longest-lived acknowledges: counted, so that a busy machine makes a run slower and not weaker.
    `told` is called after each kill, with what is known to be wrong so far. A run ends early where something is.
    """
    rng, found = Random(seed), list[str]()
    async with stage(folder, rng) as at:
        at.keep_pace()
        for cycle in range(1, cycles + 1):
            await _live(at, more=rng.randint(0, life), rng=rng)
            if cycle % CHECK_EVERY == 0 or cycle == cycles:
                await at.drain()
                found = at.problems()
            told(at.history, found)
            if found:
                break
    return at.history, found


async def _live(at: Stage, *, more: int, rng: Random) -> None:
    """One relay's life: it acknowledges so many more events, or ends as it starts."""
    relay = await at.start(WHOLE)
    try:
        if rng.random() > _KILL_EARLY:
            await at.loaded(relay, more=more)
        await asyncio.sleep(rng.uniform(0.0, 0.05))  # the moment of the kill: any
    finally:
        await at.killed(relay)


async def run_point(
    folder: Path,
    *,
    point: str,
    times: int,
    seed: int,
    broken: str = "",
    meetings: int = MEETINGS,
    told: Callable[[History, list[str]], None] = lambda *_: None,
) -> tuple[History, list[str]]:
    """Let so many relays die at a named point, each at another passage; then a whole one makes it good."""
    rng, where = Random(seed), POINTS[point]
    async with stage(folder, rng, meetings=meetings) as at:
        if where.on_data:
            await _live_on(at)
        for _ in range(times):
            await _die(at, point, where, replace(WHOLE, broken=broken), rng)
            told(at.history, [])
        await _live_on(at)  # the store takes new events too, not only what is left
        await at.drain()
        return at.history, at.problems()


async def _live_on(at: Stage) -> None:
    whole = await at.start(WHOLE)
    try:
        await at.loaded(whole, more=_SOME)
    finally:
        await at.killed(whole)


async def run_stops(folder: Path, *, times: int, seed: int) -> tuple[History, list[str]]:
    """Ask a relay to end so many times while it is under load; then a last one makes good what waits."""
    async with stage(folder, Random(seed)) as at:
        for _ in range(times):
            relay = await at.start(WHOLE)
            try:
                await at.loaded(relay, more=_SOME)
                await at.stopped(relay)
            finally:
                await relay.gone()
        await at.drain()
        return at.history, at.problems()


async def run_workers(folder: Path, *, workers: int, kills: int, seed: int) -> tuple[History, list[str]]:
    """Kill so many workers of a relay under load, one after the other, and at last the supervisor; then a relay of one
    process makes good what waits."""
    rng = Random(seed)
    async with stage(folder, rng) as at:
        relay = await at.start(WHOLE, command=(*SERVE, "--workers", str(workers)))
        try:
            for count in range(1, kills + 1):
                await at.loaded(relay, more=_SOME)
                relay.kill_worker(rng.randint(1, workers))
                at.history.kills += 1
                await at.loaded(relay, more=_SOME)  # the others go on, and the new one joins them
                await at.logged(relay, "worker.begun", workers + count)
            await at.loaded(relay, more=_SOME)
        finally:
            await at.killed(relay)
        await at.drain()
        return at.history, at.problems()


async def run_copies(folder: Path, *, copies: int, webhooks: int, seed: int, broken: str = "") -> list[str]:
    """Post the same webhook many times at once, and some webhooks so; then kill, and look what became of them."""
    async with stage(folder, Random(seed)) as at:
        relay = await at.start(replace(WHOLE, broken=broken))
        try:
            for _ in range(webhooks):
                await at.copies(relay, copies)
        finally:
            await at.killed(relay)
        await at.drain()
        return at.problems()


async def _die(at: Stage, point: str, where: Point, plan: Plan, rng: Random) -> None:
    doomed = await at.start(replace(plan, point=point, passage=rng.randint(1, where.most)), command=where.command)
    try:
        await at.load(doomed)
    finally:
        await at.died(doomed, point)
