"""Each alert fires for its fault and for nothing else, and asks for metrics that the relay really has."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from relay.telemetry import Telemetry
from tests.alerts.promtool import PROMTOOL
from tests.debian import NoProgram

ALERTS = Path(__file__).parents[2] / "config" / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
STEP, STEPS = 30, 240
"""Seconds between two samples, and how many: two hours."""

HEALTHY = {
    'up{job="dyte-relay"}': "1",
    'up{job="dyte-relay",cluster="main",instance="one"}': "1",
    'up{job="dyte-relay",cluster="main",instance="two"}': "1",
    'relay_config_info{cluster="main",instance="one",hash="0123"}': "1",
    'relay_config_info{cluster="main",instance="two",hash="0123"}': "1",
    'relay_config_info{hash="4567"}': "1",
    "relay_store_writable": "1",
    "relay_store_free_bytes": "9000000000",
    'relay_requests_total{source="dyte",outcome="accepted"}': "0+100",
    'relay_requests_total{source="dyte",outcome="store"}': "3",
    'relay_requests_total{source="dyte",outcome="too_large"}': "3",
    'relay_requests_total{source="dyte",outcome="bad_signature"}': "0+1",
    'relay_ack_seconds_bucket{source="dyte",le="0.01"}': "0+100",
    'relay_ack_seconds_bucket{source="dyte",le="+Inf"}': "0+100",
    'relay_dead_total{sink="crm",reason="refused"}': "3",
    'relay_sink_state{sink="crm",state="open"}': "1",
    'relay_sink_state{sink="crm",state="paused"}': "0",
    'relay_backlog{sink="crm"}': "5",
    'relay_backlog_oldest_seconds{sink="crm"}': "5",
    "relay_config_last_reload_successful": "1",
    'relay_key_age_seconds{source="dyte"}': "3600",
    'relay_events_quarantined_total{reason="organization_not_allowed"}': "1",
    'relay_drift_places{source="dyte",kind="unknown_field"}': "3",
    'relay_drift_total{source="dyte",kind="unknown_field"}': "0+10",
    'relay_uuid_conflict_total{source="dyte"}': "1",
    'relay_store_errors_total{kind="busy"}': "1",
    "relay_store_wal_bytes": "70000000",
    "relay_recovered_total": "8",
    "relay_clock_jumps_total": "1",
    "relay_clock_offset_seconds": "-0.02",
    'relay_sink_seat{sink="oncall",cluster="main",instance="one"}': "0",
    'relay_sink_seat{sink="oncall",cluster="main",instance="two"}': "1",
    'relay_sink_seat{sink="oncall",cluster="other",instance="three"}': "1",
    "relay_log_dropped_total": "1",
    'relay_connections_closed_total{reason="slow_headers"}': "0+1",
    'relay_producer_restarts_total{sink="events"}': "4",
}
FIRST, ONCE_MORE = "_x230 1x10", "3x230 4x10"
"""A counter that appears near the end, or has one more then."""

FAULTS: dict[str, list[dict[str, str]]] = {
    "RelayDown": [
        {'up{job="dyte-relay"}': "0"},
        {
            'up{job="dyte-relay",cluster="main",instance="one"}': "0",
            'up{job="dyte-relay",cluster="main",instance="two"}': "0",
        },
    ],
    "RelayStoreNotWritable": [{"relay_store_writable": "0"}],
    "RelayRefusesWebhooks": [{'relay_requests_total{source="dyte",outcome="store"}': "0+5"}],
    "RelayLosesWebhooks": [
        {'relay_requests_total{source="dyte",outcome="too_large"}': ONCE_MORE},
        {'relay_requests_total{source="dyte",outcome="encoded"}': FIRST},
    ],
    "RelayAnswersSlowly": [
        {
            'relay_ack_seconds_bucket{source="dyte",le="0.01"}': "0+90",
            'relay_ack_seconds_bucket{source="dyte",le="1.0"}': "0+90",
            'relay_ack_seconds_bucket{source="dyte",le="2.5"}': "0+100",
        }
    ],
    "RelayDeadLetters": [
        {'relay_dead_total{sink="crm",reason="refused"}': ONCE_MORE},
        {'relay_dead_total{sink="crm",reason="expired"}': FIRST},
    ],
    "RelaySinkClosed": [{'relay_sink_state{sink="crm",state="paused"}': "1"}],
    "RelayBacklogOld": [{'relay_backlog_oldest_seconds{sink="crm"}': "0+30"}],
    "RelayBacklogOfRemovedSink": [{'relay_backlog{sink="(removed)"}': "1"}],
    "RelayNodeDown": [{'up{job="dyte-relay",cluster="main",instance="two"}': "0"}],
    "RelayConfigsDiffer": [
        {
            'relay_config_info{cluster="main",instance="two",hash="0123"}': "1x200 _x40",
            'relay_config_info{cluster="main",instance="two",hash="89ab"}': "_x200 1x40",
        }
    ],
    "RelayConfigRefused": [{"relay_config_last_reload_successful": "0"}],
    "RelayKeyOld": [{'relay_key_age_seconds{source="dyte"}': "90000"}],
    "RelayBadSignatures": [{'relay_requests_total{source="dyte",outcome="bad_signature"}': "0+100"}],
    "RelayQuarantine": [{'relay_events_quarantined_total{reason="webhook_id_not_allowed"}': FIRST}],
    "RelaySenderDrifted": [
        {'relay_drift_places{source="dyte",kind="unknown_field"}': ONCE_MORE},
        {'relay_drift_places{source="dyte",kind="unknown_event"}': FIRST},
    ],
    "RelayUuidConflict": [{'relay_uuid_conflict_total{source="dyte"}': ONCE_MORE}],
    "RelayStoreErrors": [{'relay_store_errors_total{kind="full"}': FIRST}],
    "RelayStoreSpaceLow": [{"relay_store_free_bytes": "900000000"}],
    "RelayStoreLogGrows": [{"relay_store_wal_bytes": "300000000"}],
    "RelayRestartedInTheMiddle": [{"relay_recovered_total": "0x235 32x5"}, {"relay_recovered_total": "_x235 32x5"}],
    "RelayWorkerRestarts": [{"relay_worker_restarts_total": "0x230 1x10"}],
    "RelayClockSet": [{"relay_clock_jumps_total": "1x230 2x10"}],
    "RelayClockOff": [{"relay_clock_offset_seconds": "7"}, {"relay_clock_offset_seconds": "-7"}],
    "RelaySeatEmpty": [{'relay_sink_seat{sink="oncall",cluster="main",instance="two"}': "0"}],
    "RelayLogDropped": [{"relay_log_dropped_total": "1x230 9x10"}],
    "RelayTooManyConnections": [{'relay_connections_closed_total{reason="slow_headers"}': "0+50"}],
    "RelayKafkaProducerRestarts": [{'relay_producer_restarts_total{sink="events"}': "0+1"}],
}


@pytest.fixture(scope="session")
def promtool() -> Path:
    try:
        return PROMTOOL.find()
    except NoProgram as error:
        if os.environ.get("CI"):
            pytest.fail(f"where CI is set, the tests need it: {error}", pytrace=False)
        pytest.skip(str(error))


def firing(promtool: Path, folder: Path, series: Mapping[str, str], expected: set[str]) -> str:
    """What promtool says to the claim that these alerts and no others fire at the end; empty if it holds."""
    samples = [
        {"series": name, "values": values if "x" in values else f"{values}x{STEPS}"} for name, values in series.items()
    ]
    wanted = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)]
    question = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{STEP * STEPS - STEP}s",
        "exp_samples": wanted,
    }
    test = {"interval": f"{STEP}s", "input_series": samples, "promql_expr_test": [question]}
    file = folder / "test.yml"
    file.write_bytes(orjson.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "30s", "tests": [test]}))
    ended = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, timeout=60, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_nothing_fires_where_all_is_well(promtool: Path, tmp_path: Path) -> None:
    assert firing(promtool, tmp_path, HEALTHY, set()) == ""
    assert "got" in firing(promtool, tmp_path, HEALTHY, {"RelayDown"}), "the question can be answered with no"


@pytest.mark.parametrize(
    ("alert", "fault"), [pytest.param(alert, fault, id=alert) for alert, faults in FAULTS.items() for fault in faults]
)
def test_an_alert_fires_for_its_fault_and_no_other_does(
    promtool: Path, tmp_path: Path, alert: str, fault: dict[str, str]
) -> None:
    assert firing(promtool, tmp_path, HEALTHY | fault, {alert}) == ""


def test_each_alert_has_a_fault_and_says_what_to_do() -> None:
    assert {rule["alert"] for rule in RULES} == FAULTS.keys()
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "warn")
        assert rule["annotations"].keys() == {"summary", "action"}


def test_alerts_ask_for_metrics_that_there_are() -> None:
    known = {
        family.name + suffix
        for family in Telemetry().registry.collect()
        for suffix in ("", "_total", "_bucket", "_count", "_sum")
    }
    for rule in RULES:
        asked = set(re.findall(r"relay_[a-z_]+", rule["expr"]))
        assert asked or rule["alert"] in ("RelayDown", "RelayNodeDown")
        assert asked <= known, rule["alert"]
