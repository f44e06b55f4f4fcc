"""What all tests of faults share."""

from __future__ import annotations

import pytest

from relay import gate
from relay.gate import Wait


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed gates probe within moments: these tests wait for a sink to come back, not for the waits themselves."""
    monkeypatch.setattr(gate, "BREAKER_WAIT", Wait(first=0.05, longest=0.1))
    monkeypatch.setattr(gate, "PAUSE_WAIT", Wait(first=0.1, longest=0.1))
