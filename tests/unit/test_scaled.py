"""The files in config/scaled agree with each other and with the code: three relays, nginx, PostgreSQL, Prometheus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config import check
from relay.config.model import Config
from relay.gateway import COMMIT_TIME
from relay.gateway.options import GatewayOptions
from relay.listening import _KEEP_ALIVE

ROOT = Path(__file__).parents[2]
SCALED = ROOT / "config" / "scaled"
NGINX = (SCALED / "nginx.conf").read_text("utf-8")
RELAYS = ("relay-1", "relay-2", "relay-3")
SENDER_PATIENCE = 3.0
PASSWORD = "0123456789abcdef"
_LIMITS = ("stop_grace_period", "pids_limit", "mem_limit", "restart", "tmpfs", "command")


def compose() -> dict[str, Any]:
    """compose.yaml, with the variables that have to be set."""
    text = (SCALED / "compose.yaml").read_text("utf-8")
    document: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}", PASSWORD, text))
    return document


SERVICES: Mapping[str, dict[str, Any]] = compose()["services"]


def config() -> Config:
    """What each relay runs."""
    given = {name: "" if "$" in text else text for name, text in SERVICES["relay-1"]["environment"].items()}
    report = check(SCALED / "relay.yaml", given)
    assert (report.errors, report.warnings) == ((), ())
    assert report.config is not None
    return report.config


def directive(name: str) -> float:
    """A time of nginx.conf, in seconds."""
    [(number, unit)] = re.findall(rf"^ *{name} (\d+)(ms|s);", NGINX, re.MULTILINE)
    return float(number) / {"ms": 1000, "s": 1}[unit]


def test_the_relays_are_the_same_but_for_their_address() -> None:
    nodes = [{**SERVICES[name], "networks": None} for name in RELAYS]
    assert nodes[0] == nodes[1] == nodes[2]
    assert [name for name, service in SERVICES.items() if "build" in service] == list(RELAYS)
    assert (SCALED / nodes[0]["build"] / "Dockerfile").exists()


def test_what_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (SCALED / source).exists() if source.startswith(".") else source in compose()["volumes"], source


def test_only_nginx_and_prometheus_are_reached_from_outside_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"nginx", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


@pytest.mark.parametrize("name", [*RELAYS, "nginx", "prometheus"])
def test_what_needs_no_rights_has_none(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


def test_the_store_is_the_database_that_is_there() -> None:
    database = SERVICES["postgres"]["environment"]
    expected = "postgresql://{POSTGRES_USER}:{POSTGRES_PASSWORD}@postgres:5432/{POSTGRES_DB}".format_map(database)
    assert config().store.get_secret_value() == expected
    for name in RELAYS:
        assert SERVICES[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    tested = SERVICES["postgres"]["healthcheck"]["test"]
    assert {"--host=127.0.0.1", f"--username={database['POSTGRES_USER']}", f"--dbname={database['POSTGRES_DB']}"} <= {
        *tested
    }
    assert "-csynchronous_commit=on" in SERVICES["postgres"]["command"]


def test_nginx_knows_each_relay_by_the_address_that_it_has_for_good() -> None:
    addresses = {name: SERVICES[name]["networks"]["default"]["ipv4_address"] for name in RELAYS}
    assert dict(host.split(":") for host in SERVICES["nginx"]["extra_hosts"]) == addresses
    servers = re.findall(r"^ *server (\S+):(\d+) (.*);", NGINX, re.MULTILINE)
    port = config().gateway.listen.rsplit(":", 1)[1]
    for rule in ("max_fails=3 fail_timeout=2s", "max_fails=0 backup"):
        assert [(name, at) for name, at, told in servers if told == rule] == [(name, port) for name in RELAYS]
    listening = re.findall(r"^ *listen (\d+);", NGINX, re.MULTILINE)
    assert [port.rsplit(":", 1)[1] for port in SERVICES["nginx"]["ports"]] == listening


def test_nginx_is_done_before_the_sender_gives_up_and_not_before_a_relay_is() -> None:
    attempt = directive("proxy_connect_timeout") + directive("proxy_read_timeout")
    assert directive("proxy_next_upstream_timeout") + attempt <= SENDER_PATIENCE - 0.2
    assert directive("proxy_read_timeout") > COMMIT_TIME
    assert directive("proxy_next_upstream_timeout") > directive("proxy_read_timeout")
    [kept] = re.findall(r"keepalive 64;\s+keepalive_timeout (\d+)s;", NGINX)
    assert float(kept) < _KEEP_ALIVE


def test_nginx_lets_in_more_than_the_relay_takes() -> None:
    [limit] = re.findall(r"client_max_body_size (\d+)m;", NGINX)
    assert int(limit) * 1024**2 > GatewayOptions().max_body


def test_a_relay_among_others_has_what_one_alone_has() -> None:
    alone = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))["services"]["relay"]
    for name in RELAYS:
        assert {key: SERVICES[name][key] for key in _LIMITS} == {key: alone[key] for key in _LIMITS}


def test_prometheus_scrapes_each_relay_and_knows_the_alerts() -> None:
    scraped = yaml.safe_load((SCALED / "prometheus.yml").read_text("utf-8"))
    [job] = scraped["scrape_configs"]
    [targets] = [each["targets"] for each in job["static_configs"]]
    port = config().admin.listen.rsplit(":", 1)[1]
    assert targets == [f"{name}:{port}" for name in RELAYS]
    assert job["job_name"] == "dyte-relay"
    assert all(each["labels"].keys() == {"cluster"} for each in job["static_configs"]), "alerts ask for it"
    mounted = dict(volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"])
    assert mounted["../prometheus/alerts.yml"] == f"/etc/prometheus/{scraped['rule_files'][0]}"
    assert mounted["./prometheus.yml"] == "/etc/prometheus/prometheus.yml"
