"""The container files cannot be run here, so what can be read is checked: paths, users, ports, names that agree."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from relay.config import check

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined, comments dropped."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest) for name, rest in pairs]


def compose() -> dict[str, Any]:
    """compose.yaml."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


def in_context(path: str) -> bool:
    """Whether .dockerignore, which leaves out all but what it names, lets a path in."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    return any(fnmatch(path, pattern) or path.startswith(f"{pattern}/") for pattern in kept)


def test_what_the_image_copies_exists_and_is_in_its_context() -> None:
    copies = [rest for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    sources = [source for rest in copies for source in rest.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert in_context(source), source


def test_the_image_runs_as_nobody_in_particular() -> None:
    last_stage = instructions()[[name for name, _ in instructions()].index("FROM", 1) :]
    users = [rest for name, rest in last_stage if name == "USER"]
    assert users
    assert all(user.split(":")[0] not in ("0", "root") for user in users)
    assert any(name == "HEALTHCHECK" for name, _ in last_stage)


def test_the_image_installs_only_hashed_wheels() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "requirements" in rest]
    assert installs
    # Without --no-deps pip resolves anew, and the release of a newer dependency with an extra breaks the build.
    assert all({"--no-deps", "--require-hashes", "--only-binary"} <= set(rest.split()) for rest in installs)


def test_the_image_and_relay_yaml_agree_on_ports_and_folders() -> None:
    environment = dict(
        pair.split("=", 1) for name, rest in instructions() if name == "ENV" for pair in rest.split() if "=" in pair
    )
    report = check(ROOT / "relay.yaml", environment)
    assert report.config is not None
    exposed = {port for name, rest in instructions() if name == "EXPOSE" for port in rest.split()}
    listening = {report.config.gateway.listen, report.config.admin.listen}
    assert listening == {f"0.0.0.0:{port}" for port in exposed}
    folder = report.config.store.get_secret_value().removeprefix("sqlite:///").split("/")[0]
    assert [rest for name, rest in instructions() if name == "VOLUME"] == [f"/{folder}"]


def test_compose_names_files_that_exist_and_hardens_the_relay() -> None:
    services = compose()["services"]
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
    relay = services["relay"]
    assert relay["read_only"] is True
    assert relay["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))


def test_compose_runs_an_example_that_its_environment_satisfies() -> None:
    relay = compose()["services"]["relay"]
    mounted = next(volume.split(":")[0] for volume in relay["volumes"] if volume.endswith("relay.yaml:ro"))
    environment = {name: text if "$" not in text else "" for name, text in relay["environment"].items()}
    report = check(ROOT / mounted, environment)
    assert report.errors == ()
    assert report.config is not None
    kafka = report.config.sinks["events"]
    assert kafka.type == "kafka"
    assert f"--topic={kafka.topic}" in compose()["services"]["kafka-topics"]["command"]
    assert compose()["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].endswith(
        kafka.bootstrap_servers[0]
    )


def test_prometheus_scrapes_the_relay_of_compose() -> None:
    scraped = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text())
    targets = [
        target for job in scraped["scrape_configs"] for each in job["static_configs"] for target in each["targets"]
    ]
    report = check(ROOT / "config/examples/compose.yaml", {"KAFKA_BOOTSTRAP": "kafka:9092"})
    assert report.config is not None
    assert targets == [f"relay:{report.config.admin.listen.rsplit(':', 1)[1]}"]
