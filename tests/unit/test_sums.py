"""Several processes, one exposition."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from relay.model import GateState
from relay.records import Checkpoint, Health
from relay.telemetry import Telemetry
from relay.telemetry.sums import Sums, snapshot
from tests.running import Samples, samples

REQUESTS = 'relay_requests_total{outcome="accepted",source="dyte"}'


def whole(sums: Sums, workers: Sequence[Telemetry]) -> Samples:
    return samples(sums.exposition([snapshot(each.registry) for each in workers]))


def test_what_is_counted_is_added_up() -> None:
    own, one, two = Telemetry(), Telemetry(), Telemetry()
    for telemetry, count in ((one, 2), (two, 3)):
        for _ in range(count):
            telemetry.request_answered("dyte", "accepted", 0.004)
            telemetry.commit_took(0.2)
        telemetry.log_dropped()
    own.commit_took(0.2)
    found = whole(Sums(own.registry), [one, two])
    assert (found[REQUESTS], found["relay_log_dropped_total"]) == (5, 2)
    assert found['relay_ack_seconds_bucket{le="0.005",source="dyte"}'] == 5
    assert found['relay_ack_seconds_bucket{le="0.0025",source="dyte"}'] == 0
    assert (found["relay_commit_seconds_count"], found['relay_commit_seconds_bucket{le="+Inf"}']) == (6, 6)


def test_what_is_measured_is_told_by_who_knows_it() -> None:
    own, one, two = Telemetry(), Telemetry(), Telemetry()
    own.workers(2)
    own.config_applied("new")
    own.store_state(Health(obstacle="", free_bytes=7, log_bytes=9))
    for telemetry, open_connections, age in ((one, 3, 10.0), (two, 4, 30.0)):
        telemetry.config_applied("new")
        telemetry.inflight(lambda: 2)
        telemetry.open_connections(open_connections)
        telemetry.key_age("dyte", age)
        telemetry.store_state(Health(obstacle="", free_bytes=5, log_bytes=5))
    two.sink_state("crm", GateState.BROKEN)
    found = whole(Sums(own.registry), [one, two])
    assert (found["relay_inflight"], found["relay_open_connections"], found["relay_workers"]) == (4, 7, 2)
    assert (found["relay_store_free_bytes"], found["relay_store_writable"]) == (7, 1)
    assert (found['relay_config_info{hash="new"}'], found['relay_key_age_seconds{source="dyte"}']) == (1, 30)
    assert found['relay_sink_state{sink="crm",state="broken"}'] == 1
    two.store_state(Health(obstacle="full", free_bytes=0, log_bytes=0))
    assert whole(Sums(own.registry), [one, two])["relay_store_writable"] == 0


def test_what_happens_to_all_at_once_is_counted_once() -> None:
    own, one = Telemetry(), Telemetry()
    for telemetry in (own, one):
        telemetry.clock_jumped(timedelta(hours=1))
        telemetry.config_reloaded("other")
        telemetry.checkpointed(Checkpoint.OK)
    found = whole(Sums(own.registry), [one])
    assert found["relay_clock_jumps_total"] == 1
    assert found['relay_config_reloads_total{result="applied"}'] == 1
    assert found['relay_checkpoints_total{result="ok"}'] == 1


def test_a_death_takes_nothing_back() -> None:
    own, dead, successor = Telemetry(), Telemetry(), Telemetry()
    dead.request_answered("dyte", "accepted", 0.1)
    dead.inflight(lambda: 5)
    sums = Sums(own.registry)
    sums.bury(snapshot(dead.registry))
    successor.request_answered("dyte", "accepted", 0.1)
    found = whole(sums, [successor])
    assert (found[REQUESTS], found["relay_inflight"]) == (2, 0)
    assert found['relay_ack_seconds_count{source="dyte"}'] == 2
