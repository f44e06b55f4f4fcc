"""How a worker wakes the lane of another: one short datagram for all that it took in since the last one.

Only hints: one that is lost costs what a lane waits between two looks at the store, a second.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Mapping

from relay.model import Acceptance, Admission
from relay.ports import Intake, Store

_GATHER = 0.002
"""Seconds for which hints are gathered: a lane that is woken for each event commits a claim for each."""
_AGAIN = 0.05
"""Seconds after which one is told again who has too much to hear."""
_MOST = 65536


def pair() -> tuple[socket.socket, socket.socket]:
    """One that hears, and one to be heard by it. What is said while nobody listens waits for the successor."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


class DatagramBells:
    """See `relay.share.Bells`."""

    def __init__(self, own: socket.socket, others: Mapping[int, socket.socket], lanes: Mapping[str, int]) -> None:
        self.lanes = lanes
        for each in (own, *others.values()):
            each.settimeout(0)
        self._own = own
        self._others = others
        self._due: defaultdict[int, set[str]] = defaultdict(set)
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def join(self, store: Store) -> Intake:
        """See `Bells.join`."""
        self._loop.add_reader(self._own.fileno(), self._heard, store)
        return _Ringing(store, self)

    def ring(self, sink: str) -> None:
        """Something came for this sink; its lane is woken soon, unless that is here."""
        number = self.lanes.get(sink)
        if number is not None and number in self._others:
            self._due[number].add(sink)
            if self._timer is None:
                self._timer = self._loop.call_later(_GATHER, self._ring)

    @property
    def rings(self) -> bool:
        """Whether somebody is about to be told."""
        return self._timer is not None

    def close(self) -> None:
        """Hear and say nothing more."""
        self._loop.remove_reader(self._own.fileno())
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer = None
        due, self._due = self._due, defaultdict(set)
        for number, sinks in due.items():
            try:
                self._others[number].send("\n".join(sinks).encode())
            except OSError:  # it has more to hear than it can, or it is just being replaced
                self._due[number] |= sinks
        if self._due:
            self._timer = self._loop.call_later(_AGAIN, self._ring)

    def _heard(self, store: Store) -> None:
        while True:
            try:
                said = self._own.recv(_MOST)
            except OSError:  # all of it is heard
                return
            for sink in said.decode().split("\n"):
                store.wake(sink)


class _Ringing:
    """A store's intake, which rings for what it takes."""

    def __init__(self, store: Intake, bells: DatagramBells) -> None:
        self._store = store
        self._bells = bells

    async def accept(self, admission: Admission) -> Acceptance:
        """See `Intake.accept`."""
        acceptance = await self._store.accept(admission)
        if acceptance.duplicate is None:
            for target in admission.targets:
                self._bells.ring(target.sink)
        return acceptance
