"""A configuration to show what would be sent: it needs none of its variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.config import InvalidConfig, Rehearsal, rehearse

ROOT = Path(__file__).parents[2]
EVERYWHERE = """\
store: ${STORE}
gateway: {listen: "${LISTEN}"}
sources:
  dyte: {path: "${PATH_OF_IT}", public_key: "${KEY}", public_key_url: "${KEY_URL}", organizations: ["${ORG}"]}
  other: {path: "/in/${TOKEN}", public_key: ["${KEY}", "${KEY_TWO}"]}
sinks:
  crm:
    type: http
    url: ${CRM_URL}
    headers: {authorization: "Bearer ${CRM_TOKEN}", secret: "${CRM_TOKEN}"}
    secret: ["${CRM_SECRET}", "${file:secret}"]
    pseudonymize: [a]
    pseudonym_key: ${PSEUDONYMS}
  hook: {type: slack, webhook_url: "${SLACK_WEBHOOK_URL}"}
  bot: {type: slack, token: "${SLACK_TOKEN}", channel: "${CHANNEL}", api_url: "${SLACK_API}"}
  events: {type: kafka, topic: "${TOPIC}", bootstrap_servers: ["${BROKER}", "${HOST}:9092"]}
"""


def rehearsed(folder: Path, text: str, **env: str) -> Rehearsal:
    file = folder / "relay.yaml"
    file.write_text(text, "utf-8")
    return rehearse(file, env)


def test_something_stands_in_wherever_a_variable_may_stand(tmp_path: Path) -> None:
    found = rehearsed(tmp_path, EVERYWHERE)
    assert found.unset[:3] == ("STORE", "LISTEN", "PATH_OF_IT")
    assert "file:secret" in found.unset
    assert len(found.unset) == len(set(found.unset)) == EVERYWHERE.count("${") - 2, "KEY and CRM_TOKEN are named twice"
    assert list(found.config.sinks) == ["crm", "hook", "bot", "events"]


@pytest.mark.parametrize("file", sorted((ROOT / "config" / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_need_none(file: Path) -> None:
    assert rehearse(file, {}).config.routes


def test_what_is_set_counts(tmp_path: Path) -> None:
    text = "sinks: {events: {type: kafka, topic: '${TOPIC}', bootstrap_servers: ['${BROKER:-kafka:1}']}}"
    found = rehearsed(tmp_path, text, TOPIC="mine")
    assert found.unset == ()
    assert found.config.sinks["events"].model_dump()["topic"] == "mine"


def test_what_is_set_to_nothing_is_not_set(tmp_path: Path) -> None:
    """So CI systems hand over a secret that a fork must not see."""
    text = "sinks: {hook: {type: slack, webhook_url: '${SLACK_WEBHOOK_URL}'}}"
    assert rehearsed(tmp_path, text, SLACK_WEBHOOK_URL="").unset == ("SLACK_WEBHOOK_URL",)


def test_the_same_name_always_has_the_same_stand_in(tmp_path: Path) -> None:
    assert rehearsed(tmp_path, EVERYWHERE).config == rehearsed(tmp_path, EVERYWHERE).config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sinks: {a: {type: file, path: '${X'}}", "has a `${` without its `}`"),
        ("sinks: {a: {type: file, path: '${1}'}}", "has a `${…}` that is no variable"),
        ("sources: {dyte: {provider: '${PROVIDER}'}}", "must be `dyte` or `realtimekit`; look at `${PROVIDER}`"),
        ("routes: [{name: a, to: [b]}]", "there is no sink `b`"),
    ],
)
def test_what_is_wrong_whatever_is_set_stays_wrong(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidConfig, match=r"relay\.yaml:1") as caught:
        rehearsed(tmp_path, text)
    assert said in str(caught.value)
