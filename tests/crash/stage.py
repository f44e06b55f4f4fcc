"""One store, its receivers and its senders, and the relays that come and go between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from signal import SIGKILL

import orjson

from tests.crash.doomed import Plan
from tests.crash.history import Arrival, History, digest_of, problems
from tests.crash.points import SERVE
from tests.crash.process import FILE, IN_FLIGHT, ORDERED, TIMEOUTS, UNDER_WAY, RelayProcess, write_config
from tests.crash.receiver import Receiver, Served, serving
from tests.crash.senders import MEETINGS, Senders, sending
from tests.crash.stored import Book, SqliteBook
from tests.fakes.keys import key_pair
from tests.running import until

WHOLE = Plan(quick_probes=True)
_SENDERS = 32
_MOST_WAITING = 200
_DRAIN_TIME = 90.0
"""Seconds. Less than a lease lasts: one that the next relay does not give back at once is seen."""
_SOON = 30.0
"""Seconds within which a relay under load passes each of its points."""


class Stage:
    """One store, its receivers and its senders, and the relays that come and go between them."""

    def __init__(
        self, book: Book, configs: Sequence[Path], *, senders: Senders, receivers: Sequence[Receiver], served: Served
    ) -> None:
        """`configs` are those of the nodes, each in a folder of its own."""
        self.history = senders.history
        self.senders = senders
        self._book = book
        self._configs = configs
        self._receivers = receivers
        self._served = served
        self._ends = dict.fromkeys((config.with_name(FILE) for config in configs), 0)
        """Of each node's file, how much of it is read."""

    async def start(self, plan: Plan, *, command: Sequence[str] = SERVE, node: int = 0) -> RelayProcess:
        return await RelayProcess.start(self._configs[node], plan, command=command)

    def keep_pace(self) -> None:
        """From now on acknowledge no more than is delivered, so that kills hit deliveries as often as answers."""
        self.senders.enough = lambda: (
            self.history.acknowledged - min(len(receiver.done) for receiver in self._receivers) > _MOST_WAITING
        )

    async def load(self, relay: RelayProcess) -> None:
        """Let the senders at it, if it lives long enough to listen."""
        address = await relay.listening()
        if address is not None:
            self.senders.go_on(address)

    async def copies(self, relay: RelayProcess, count: int) -> None:
        """Post one webhook so often at the same time, in the midst of all others.

        It is of a type whose body may honestly come again, so only the uuid tells that it is the same.
        """
        self.senders.go_on(await relay.address())
        await self.senders.post(copies=count, kind="something.new")

    async def loaded(self, relay: RelayProcess, *, more: int) -> None:
        """Return when so many more events are acknowledged."""
        await self.acknowledged(more, [await relay.address()])

    async def acknowledged(self, more: int, addresses: Sequence[str]) -> None:
        """Return when so many more events are acknowledged by relays at these addresses."""
        wanted = self.history.acknowledged + more

        async def enough() -> bool:
            self.senders.go_on(*addresses)  # again: one of several workers that dies takes connections with it
            return self.history.acknowledged >= wanted

        await until(enough, f"{more} more acknowledged events", timeout=_SOON)

    async def logged(self, relay: RelayProcess, moment: str, count: int) -> None:
        """Return when it has said this so often."""

        async def often() -> bool:
            return relay.moments[moment] >= count

        await until(often, f"{count} times {moment}", timeout=_SOON)

    async def killed(self, relay: RelayProcess) -> None:
        await relay.kill()
        self.history.kills += 1
        await self.buried()

    async def stopped(self, relay: RelayProcess) -> None:
        """SIGTERM in the midst of the load; it must end in order."""
        await relay.stop()
        self.history.kills += 1
        await self.buried()

    async def died(self, relay: RelayProcess, point: str) -> None:
        """Wait for a relay that dies by itself."""
        code = await relay.ended()
        assert code == -SIGKILL, f"{point}: the relay was to be killed there, but ended with {code}: {relay.told()}"
        self.history.kills += 1
        await self.buried()

    async def buried(self) -> None:
        """What the dead one had sent is read before another one begins: a network that holds a request back for longer
        than a restart takes puts any two of them out of order, and no sender can help it."""

        async def idle() -> bool:
            return self._served.at_work == sum(receiver.lingering for receiver in self._receivers)

        await until(idle, "end of the connections of a dead relay", timeout=_SOON)

    async def drain(self) -> None:
        """Let a last relay deliver all that is left, and collect what the file and the store have."""
        self.senders.pause()
        relay = await self.start(WHOLE)

        async def drained() -> bool:
            return not await self._book.waits()

        try:
            await relay.address()
            await until(drained, "empty backlog", timeout=_DRAIN_TIME)
            await relay.stop()
        finally:
            await relay.gone()
        for file in self._ends:
            self._read(file)
        self.history.stored = await self._book.look(sinks=len(IN_FLIGHT))

    def problems(self, *, ordered: Sequence[str] = ORDERED) -> list[str]:
        return problems(self.history, under_way=UNDER_WAY, ordered=ordered)

    def _read(self, path: Path) -> None:
        """The file sink's new lines; one that a kill has cut off did not arrive."""
        path.touch()
        with path.open("rb") as file:
            file.seek(self._ends[path])
            for line in file:
                self._ends[path] += len(line)
                try:
                    event_id = orjson.loads(line)["id"]
                except orjson.JSONDecodeError:
                    continue
                body = line[line.index(b',"data":') + len(b',"data":') : -len(b"}\n")]
                self.history.arrived["file"].append(Arrival(event_id, digest_of(body)))


@asynccontextmanager
async def stage(
    folder: Path, rng: Random, *, meetings: int = MEETINGS, book: Book | None = None, nodes: int = 1
) -> AsyncIterator[Stage]:
    """Set everything up but the relays, of which there may be so many at one time; their store is a file, or this."""
    book = book or SqliteBook(folder / "relay.db")
    history = History(arrived={sink: [] for sink in IN_FLIGHT})
    receivers = {
        sink: Receiver(history.arrived[sink], Random(rng.random()), patience=TIMEOUTS[sink])
        for sink in ("http", "free")
    }
    async with serving({sink: receiver.take for sink, receiver in receivers.items()}) as served:
        own = [folder / f"node-{number}" for number in range(nodes)] if nodes > 1 else [folder]
        for each in own:
            each.mkdir(exist_ok=True)
        key = key_pair().public_pem
        configs = [write_config(each, public_key=key, receivers=served.url, store=book.url) for each in own]
        try:
            async with sending(history, Random(rng.random()), _SENDERS, meetings=meetings) as senders:
                yield Stage(book, configs, senders=senders, receivers=list(receivers.values()), served=served)
        finally:
            for receiver in receivers.values():
                receiver.end()
