"""Signed bodies that hold anything at all: taken, kept and handed on byte for byte, to every kind of sink.

They come from a genuine sender, who hands on what participants typed. None may be refused, changed, stall a lane, break
the ledger or a line of the log.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.cli import main
from relay.demo.kafka import DemoKafka
from relay.logs import JsonFormatter
from relay.payload import decode
from tests.fakes.http import FakeHttp
from tests.fakes.slack import FakeSlack
from tests.running import Relay, relay_running

BIDI, ZERO_WIDTH = "\u202e", "\u200b"
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "NUL": b"\x00",
    "noise": bytes(range(256)),
    "scalar": b"1",
    "null": b"null",
    "list": b"[]",
    "empty object": b"{}",
    "cut": b'{"event":"meeting.started","meeting":{"id":"m',
    "two objects": b'{"event":"a.b"}{"event":"c.d"}',
    "white space around": b'\r\n\t {"event":"a.b"} \r\n\n',
    "line breaks inside": b'{\r\n"event"\n:\r"a.b"}',
    "NaN": b'{"event":"a.b","x":NaN}',
    "infinity": b'{"event":"a.b","x":-Infinity}',
    "huge exponent": b'{"event":"a.b","x":1e999999}',
    "5,000 digits": b'{"event":"a.b","x":' + b"9" * 5000 + b"}",
    "23 digits": b'{"event":"a.b","x":12345678901234567890123}',
    "duplicate keys": b'{"event":"a.b","event":"c.d","meeting":{"id":"1"},"meeting":{"id":"2"}}',
    "UTF-8 with a mark": b'\xef\xbb\xbf{"event":"a.b"}',
    "UTF-16": '{"event":"a.b"}'.encode("utf-16"),
    "UTF-32": '{"event":"a.b"}'.encode("utf-32"),
    "no UTF-8": b'{"event":"a.b","x":"\xff\xfe"}',
    "surrogates in UTF-8": b'{"event":"a.b","x":"\xed\xa0\x80"}',
    "half an emoji": rb'{"event":"a.b","meeting":{"id":"\ud83d","title":"\ud83d"},"x":"\udc00"}',
    "escaped NUL": rb'{"event":"a.b","meeting":{"id":"a\u0000b","title":"a\u0000b"}}',
    "control characters": rb'{"event":"a.b","meeting":{"title":"\u001b[2J\u0007\r\nrelay ok"}}',
    "direction marks": f'{{"event":"a.b","meeting":{{"id":"{BIDI}","title":"{BIDI}x{ZERO_WIDTH}"}}}}'.encode(),
    "line separators": '{"event":"a.b","meeting":{"title":"\u2028\u2029\x85"}}'.encode(),
    "mentions": b'{"event":"meeting.started","meeting":{"id":"m","title":"<!channel> <@U1> <http://x|y> &lt;"}}',
    "templates": b'{"event":"meeting.started","meeting":{"title":"{{ 7*7 }} {% for x in range(9) %}"}}',
    "wrong types": b'{"event":"meeting.started","meeting":[1],"organizedBy":7,"recording":null,"participant":"x"}',
    "event of another type": b'{"event":["meeting.started"]}',
    "event of two lines": rb'{"event":"a\r\nce-id: forged"}',
    "long event": b'{"event":"' + b"a" * 5000 + b'"}',
    "long ids": b'{"event":"a.b","meeting":{"id":"' + b"m" * 5000 + b'","sessionId":"' + b"s" * 5000 + b'"}}',
    "prototype": b'{"__proto__":{"event":"a.b"},"constructor":1,"event":"a.b","__class__":"x"}',
    "64 levels": b'{"event":"a.b","x":' + b"[" * 63 + b"]" * 63 + b"}",
    "65 levels": b'{"event":"a.b","x":' + b"[" * 64 + b"]" * 64 + b"}",
    "100,000 brackets": b"[" * 100_000,
    "a mebibyte of brackets": b"[" * 524_288 + b"]" * 524_288,
    "a mebibyte of objects": b'{"a":' * 174_762 + b"1",
    "many keys": b'{"event":"a.b",' + b",".join(b'"k%d":%d' % (n, n) for n in range(50_000)) + b"}",
}


@asynccontextmanager
async def everywhere(folder: Path) -> AsyncIterator[tuple[Relay, DemoKafka, FakeHttp, FakeSlack]]:
    """A relay with a sink of each kind, which all get everything, also what cannot be read."""
    async with DemoKafka(f"test-{uuid4()}") as kafka, FakeHttp() as http, FakeSlack() as slack:
        sinks: dict[str, Any] = {
            "events": {"type": "kafka", "bootstrap_servers": [kafka.bootstrap], "topic": kafka.topic},
            "crm": {"type": "http", "url": http.url, "allow_private": True},
            "oncall": {"type": "slack", "webhook_url": slack.webhook_url, "rate": "10000/s"},
            "audit": {"type": "file", "path": str(folder / "events.jsonl")},
        }
        routes = [
            {"name": "known", "events": ["*"], "to": list(sinks)},
            {"name": "rest", "fallback": True, "to": list(sinks)},
        ]
        async with relay_running(folder, sinks=sinks, routes=routes) as relay:
            yield relay, kafka, http, slack


async def post_all(relay: Relay, bodies: list[bytes]) -> dict[str, bytes]:
    """By event id."""
    found = {}
    for body in bodies:
        answer = await relay.post(body)
        assert (answer.status, answer.json["status"]) == (200, "accepted"), body[:200]
        found[answer.json["id"]] = body
    return found


def in_file(folder: Path) -> dict[str, bytes]:
    """What the file sink wrote, by event id; line breaks in JSON are white space there."""
    found = {}
    for line in (folder / "events.jsonl").read_bytes().split(b"\n")[:-1]:
        about = orjson.loads(line.partition(b',"data')[0] + b"}")
        _, _, data = line.partition(b',"data":')
        found[about["id"]] = data[:-1] if data else base64.b64decode(line.partition(b',"data_base64":"')[2][:-2])
    return found


async def test_all_of_it_arrives_everywhere_as_it_was_signed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with everywhere(tmp_path) as (relay, kafka, http, slack):
        given = await post_all(relay, list(HOSTILE.values()))
        await relay.drained()
        totals = await relay.totals()
        messages = await kafka.read(len(given))
        posted = len(slack.posted)
    assert totals["delivered"] + totals.get("dead", 0) == 4 * len(given)
    assert totals.get("dead", 0) == 0
    assert {message.headers["ce_id"]: message.body for message in messages} == given
    assert {request.headers["webhook-id"]: request.body for request in http.requests} == given
    assert flat(in_file(tmp_path)) == flat(given)
    assert posted == len(given)
    _log_is_whole(caplog.records)
    await asyncio.to_thread(_ledger_can_be_read, tmp_path, list(given))


def flat(bodies: dict[str, bytes]) -> dict[str, bytes]:
    """With spaces for line breaks."""
    return {event_id: body.replace(b"\r", b" ").replace(b"\n", b" ") for event_id, body in bodies.items()}


def _log_is_whole(records: list[logging.LogRecord]) -> None:
    """One line of ASCII JSON for each record, whatever is in it, and no traceback."""
    formatter = JsonFormatter()
    for record in records:
        line = formatter.format(record)
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["moment"]
        assert record.exc_info is None


def _ledger_can_be_read(folder: Path, ids: list[str]) -> None:
    config = str(folder / "relay.yaml")
    for command in (
        ["events", "list", "--limit", "1000"],
        ["events", "list", "--limit", "1000", "--json"],
        ["deliveries", "list", "--limit", "1000"],
        ["deliveries", "list", "--limit", "1000", "--json"],
        *(["events", "show", event_id, "--body"] for event_id in ids),
        *(["events", "show", event_id, "--body", "--json"] for event_id in ids[:10]),
    ):
        ended = CliRunner().invoke(main, [*command, "-c", config])
        assert ended.exit_code == 0, (command, ended.output[:500])
        assert "\x1b" not in ended.stdout
        assert "\x00" not in ended.stdout
        assert BIDI not in ended.stdout
        if "--json" in command:
            json.loads(ended.stdout)


# Whatever Hypothesis thinks of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["meeting.started", "recording.statusUpdate", "meeting.participantJoined"]) | JSON,
        "meeting": st.fixed_dictionaries({}, optional={"id": JSON, "title": JSON, "organizedBy": JSON}) | JSON,
        "recording": st.fixed_dictionaries({}, optional={"status": JSON, "fileSize": JSON, "stopReason": JSON}) | JSON,
        "participant": st.fixed_dictionaries({}, optional={"userDisplayName": JSON, "joinedAt": JSON}) | JSON,
    },
)


def written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


BODIES = st.one_of(FIELDS.map(written), JSON.map(written), st.binary(max_size=200))
EXAMPLES, EACH = 8, 40


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None)
@given(bodies=st.lists(BODIES, min_size=EACH, max_size=EACH, unique=True))
async def test_any_signed_body_is_taken_and_handed_on(
    bodies: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    async with everywhere(folder) as (relay, _, http, slack):
        given_bodies = await post_all(relay, bodies)
        await relay.drained()
        totals = await relay.totals()
        dead = [record for record in await relay.app.store.deliveries(limit=1000) if record.state == "dead"]
        posted = len(slack.posted)
    assert dead == []
    assert totals["delivered"] == 4 * len(bodies)
    assert {request.headers["webhook-id"]: request.body for request in http.requests} == given_bodies
    assert posted == len(bodies)


def test_the_samples_hold_what_they_say() -> None:
    defects = {name: decode(body).defect for name, body in HOSTILE.items()}
    assert {defect for defect in defects.values() if defect} == {"not_json", "not_object", "too_deep"}
    assert defects["64 levels"] is None
    assert defects["65 levels"] == "too_deep"
    assert len(HOSTILE["a mebibyte of brackets"]) == 1024 * 1024
