"""How long the machine has kept this process from its work: what took longer then is no fault of the relay's."""

from __future__ import annotations

import threading
from time import monotonic
from types import TracebackType
from typing import Self

_EVERY = 0.02
_MUCH = 0.5


class Standstill:
    """A context manager with a thread that does nothing but look at the clock. It is late when the machine stands still
    or has no processor left, and not when the event loop is busy or waits for something."""

    def __init__(self) -> None:
        self.longest = 0.0
        """Seconds that the thread was late, at most."""
        self.total = 0.0
        """Seconds that it was late, all in all."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="standstill", daemon=True)

    @property
    def excuses(self) -> bool:
        """Whether an answer that came too late may have been in time but for the machine."""
        return self.longest > _MUCH

    def _watch(self) -> None:
        before = monotonic()
        while not self._over.wait(_EVERY):
            now = monotonic()
            late, before = now - before - _EVERY, now
            self.longest, self.total = max(self.longest, late), self.total + late

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
