"""What is logged when a sink closes and opens: who has to act, and when it is over."""

from __future__ import annotations

import logging

import pytest

from relay.model import Failure, GateState, Reason
from relay.telemetry import Telemetry

GONE = Failure(reason=Reason.GONE, detail="410")
BY_HAND = Failure(reason=Reason.PAUSED, detail="by hand")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.message) for record in caplog.records]


def test_a_sink_that_closes_is_an_error_and_that_it_opens_again_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    telemetry.sink_state("crm", GateState.OPEN)
    telemetry.sink_state("crm", GateState.PAUSED, GONE)
    telemetry.sink_state("crm", GateState.OPEN)
    telemetry.sink_state("crm", GateState.OPEN)
    assert logged(caplog) == [(logging.ERROR, "sink.closed"), (logging.WARNING, "sink.opened")]


def test_what_a_person_did_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    Telemetry().sink_state("crm", GateState.PAUSED, BY_HAND)
    assert logged(caplog) == [(logging.WARNING, "sink.closed")]
