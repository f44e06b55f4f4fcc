"""Nobody outside chooses how many series there are: a label's values come from closed sets and from relay.yaml."""

from __future__ import annotations

from relay.clock import SystemClock
from relay.dyte import Signature, parse
from relay.model import Acceptance, Admission
from relay.telemetry import Telemetry
from tests.fakes.gateway import ScriptedIntake, gateway_running

HOSTILE = 100_000


def accepted(telemetry: Telemetry, event_type: str) -> None:
    event = parse(
        event_id="id",
        source="dyte",
        body=b'{"event":"%b","meeting":{"id":"%b"}}' % (event_type.encode(), event_type.encode()),
        signature=Signature(family="dyte", bytes=b"", uuid=event_type, webhook_id=event_type),
        headers=(),
        received_at=SystemClock().now(),
    )
    telemetry.event_accepted(Admission(event=event), Acceptance(event_id="id"))


def series(telemetry: Telemetry) -> int:
    return sum(len(family.samples) for family in telemetry.registry.collect())


def test_a_hundred_thousand_unknown_types_add_no_series() -> None:
    telemetry = Telemetry()
    accepted(telemetry, "something.new")
    before = series(telemetry)
    for number in range(HOSTILE):
        accepted(telemetry, f"something.new{number}")
    assert series(telemetry) == before


async def test_paths_methods_and_headers_add_no_series() -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        for method in ("GET", "POST", "BREW"):
            await gateway.request(method, "/first")
        before = len(gateway.metrics())
        for number in range(200):
            await gateway.request(f"M{number}", f"/path/{number}", headers={f"x-{number}": str(number)})
            await gateway.post({"event": "x"}, path=f"/webhooks/{number}")
        assert len(gateway.metrics()) == before
