"""The documents of relay.yaml and of each example are AsyncAPI: their own parser finds no error in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.asyncapi import document
from tests.asyncapi.parser import NoParser, find, judge
from tests.unit.test_config_files import EXAMPLES, RELAY_YAML, checked

EVERYTHING = """
sources: {dyte: {provider: dyte}, kit: {provider: realtimekit}}
sinks:
  topics:
    type: kafka
    bootstrap_servers: ["kafka-1:9092", "kafka-1:9092", "[::1]:9092"]
    topic: "from.{source}"
    key: none
    enabled: false
    security_protocol: SASL_SSL
    sasl_mechanism: PLAIN
    sasl_plain_username: relay
    sasl_plain_password: secret
    ssl_certfile: relay.pem
    pseudonymize: [participant.customParticipantId, meeting]
    pseudonym_key: 0123456789abcdef
  same: {type: kafka, bootstrap_servers: ["kafka-1:9092"], topic: all, key: "join('/', [event, meeting.id])"}
  too: {type: kafka, bootstrap_servers: ["kafka-1:9092"], topic: all, redact: [event, recording.filesize, a.b]}
  crm: {type: http, url: "https://crm.example:8443/in/box?key=1", headers: {X-Token: a, X-Tenant: b}, select: "[event]"}
  nobody: {type: http, url: "https://nobody.example"}
routes:
  - {name: all, fallback: true, to: [topics, same, too, crm]}
"""


def documents(folder: Path) -> Mapping[str, Any]:
    """By name; several files may make the same one, and the parser takes a while for each."""
    texts = {file.name: file.read_text() for file in (RELAY_YAML, *EXAMPLES)}
    texts["everything"] = EVERYTHING
    different: dict[bytes, str] = {}
    for name, text in texts.items():
        config = checked(folder, text).config
        assert config is not None, name
        different.setdefault(orjson.dumps(document(config, paths=name == "everything")), name)
    return {name: orjson.loads(made) for made, name in different.items()}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_parser_finds_no_error(tmp_path: Path) -> None:
    try:
        folder = find()
    except NoParser as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    given = documents(tmp_path)
    assert len(given) >= 7
    broken = given["everything"] | {"operations": {"send": {"action": "shout", "channel": {"$ref": "#/channels/none"}}}}
    judged = judge(folder, {**given, "broken": broken})
    errors = {name: [each for each in said["diagnostics"] if each["severity"] == 0] for name, said in judged.items()}
    assert errors.pop("broken"), "the question can be answered with no"
    assert errors == {name: [] for name in given}
    assert all(judged[name]["parsed"] for name in given)
