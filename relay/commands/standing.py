"""How a sink stands, put together of what its lane says, what people want, and what relay.yaml says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches

from relay.commands.output import when
from relay.config import SinkKind
from relay.model import GateState, Reason, value
from relay.records import SinkRecord

_CLOSED = (GateState.BROKEN, GateState.PAUSED)


@value
class Standing:
    """One sink, as people are told of it."""

    record: SinkRecord
    kind: SinkKind | None
    """None: relay.yaml has no such sink, or cannot be read."""
    known: bool
    """Whether relay.yaml could be read."""

    @property
    def removed(self) -> bool:
        """Whether the sink is gone from relay.yaml."""
        return self.known and self.kind is None

    @property
    def disabled(self) -> bool:
        """Whether `enabled: false` stops it."""
        return self.kind is not None and not self.kind.enabled

    @property
    def by_hand(self) -> bool:
        """Whether a person wants it paused."""
        return self.record.wish is not None and self.record.wish.paused

    @property
    def state(self) -> str:
        """One word: `removed`, `disabled`, `paused`, `broken`, `open`, or `unknown` while no relay has run it."""
        if self.removed:
            return "removed"
        if self.disabled:
            return "disabled"
        if self.by_hand:
            return GateState.PAUSED
        return self.record.state or "unknown"

    @property
    def since(self) -> datetime | None:
        """Since when a person or its lane has it in that state."""
        if self.removed or self.disabled:
            return None
        return self.record.wish.at if self.record.wish is not None and self.by_hand else self.record.since

    @property
    def obeyed(self) -> bool:
        """Whether a relay has done what was last asked for."""
        return self.by_hand == (self.record.reason == Reason.PAUSED)

    @property
    def note(self) -> str:
        """What the state alone does not say; short."""
        if self.removed:
            return "it is not in relay.yaml; what waits for it goes out when it is there again"
        if self.disabled:
            return ""
        if not self.obeyed:
            return f"asked to {'pause' if self.by_hand else 'go on'}; a relay that runs does so within a second"
        if self.by_hand or self.record.state not in _CLOSED:
            return ""
        resume = f"`relay sinks resume {self.record.sink}`"
        broken = self.record.state is GateState.BROKEN
        mend = f"tried again by itself, or at once by {resume}" if broken else f"when it is mended: {resume}"
        return f"{self.record.reason}: {self.record.detail}; {mend}"

    @property
    def holds(self) -> str:
        """Why nothing goes to it, and what to do about that, in a sentence; empty where nothing is in the way."""
        if self.removed:
            return "the sink is not in relay.yaml; what waits for it goes out when it is there again"
        if self.disabled:
            return "the sink is disabled in relay.yaml; what waits for it goes out when it is enabled again"
        if self.by_hand:
            return f"the sink is paused by hand since {when(self.since)} UTC; `relay sinks resume {self.record.sink}`"
        if self.record.state not in _CLOSED:
            return ""
        return f"the sink is {self.record.state} since {when(self.since)} UTC: {self.note}"


def standings(
    records: Sequence[SinkRecord], kinds: Mapping[str, SinkKind] | None, *, named: Collection[str] = ()
) -> Mapping[str, Standing]:
    """All sinks of relay.yaml, in its order, then those of which the store alone knows, or which are named."""
    known = {record.sink: record for record in records}
    names = dict.fromkeys([*(kinds or {}), *known, *named])
    return {
        name: Standing(
            record=known.get(name, SinkRecord(sink=name)),
            kind=None if kinds is None else kinds.get(name),
            known=kinds is not None,
        )
        for name in names
    }


def suggestion(name: str, known: Sequence[str]) -> str:
    """What to say of a name that nobody knows."""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are {', '.join(known)}" if known else "there are none"
