"""What the telemetry is told of a sink's gate: each change once."""

from __future__ import annotations

import asyncio

from relay.gate import Gate
from relay.model import GateState
from relay.telemetry import Telemetry


class Telling:
    """Of one lane. Where another node has the sink's seat, the state is that one's to tell."""

    def __init__(self, sink: str, gate: Gate, *, stopping: asyncio.Event, telemetry: Telemetry) -> None:
        """`stopping` is set once another lane may tell of the sink."""
        self._sink = sink
        self._gate = gate
        self._stopping = stopping
        self._telemetry = telemetry
        self._told: GateState | None = gate.state
        self._held = 0.0

    def begin(self, *, seated: bool) -> None:
        """Tell how it is."""
        self._tell_state(self._gate.state if seated else None)

    def tell(self, *, seated: bool) -> None:
        """Tell what has changed."""
        if self._gate.held_seconds > self._held:
            self._telemetry.sink_throttled(self._sink, self._gate.held_seconds - self._held)
            self._held = self._gate.held_seconds
        state = self._gate.state if seated else None
        if state is not self._told and not self._stopping.is_set():
            self._tell_state(state)

    def _tell_state(self, state: GateState | None) -> None:
        self._told = state
        self._telemetry.sink_state(self._sink, state, self._gate.failure)
