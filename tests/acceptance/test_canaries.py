"""Secrets and people's names stay where they belong: a word that stands in each is looked for everywhere else."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from tests.acceptance.process import serving_file
from tests.fakes.http import Answer, FakeHttp, Hang, Reset
from tests.fakes.provider import API_KEY, ORGANIZATION, FakeProvider
from tests.fakes.slack import FakeSlack, Refuse
from tests.running import payload, sender, until, write_config

WORD = "c4n4ry"
"""Part of each secret of the configuration."""
PERSON, STREAM, LINK = "Ann p3rs0n", "stream-p3rs0n", "https://files.example/a.mp4?X-Amz-Signature=p3rs0n"
"""What the sender put into a body: it may be sent on, and nothing else."""


def whsec(word: str) -> str:
    """A signing secret of Standard Webhooks."""
    return "whsec_" + base64.b64encode(f"{word}-of-at-least-24-bytes".encode()).decode()


def secrets(http: FakeHttp, slack: FakeSlack) -> dict[str, Any]:
    """Sinks with a secret wherever there may be one."""
    return {
        "crm": {
            "type": "http",
            "url": f"{http.url}/{WORD}-path?key={WORD}-query",
            "headers": {"authorization": f"Bearer {WORD}-header", "x-key": "${file:secret}"},
            "secret": [whsec(WORD), "${RELAY_TEST_SECRET}"],
            "allow_private": True,
            "pseudonymize": ["meeting.title"],
            "pseudonym_key": f"{WORD}-pseudonyms",
            "retry": {"base": "10ms", "cap": "20ms", "max_attempts": 6},
        },
        "bot": {"type": "slack", "token": f"xoxb-{WORD}", "channel": "C0123456789", "api_url": slack.api_url},
        "hook": {
            "type": "slack",
            "webhook_url": slack.webhook_url + f"/{WORD}-hook",
            "text": "{{ meeting.title > 3 }}",  # fails over every payload
        },
        "closed": {
            "type": "kafka",
            "bootstrap_servers": ["127.0.0.1:1"],
            "topic": "dyte.events",
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": "relay",
            "sasl_plain_password": f"{WORD}-kafka",
            "timeout": "1s",
        },
    }


def hits(text: str | bytes, *words: str) -> list[str]:
    """The places where a word stands, with what is around it; also in base64 and in hex."""
    raw = text.encode() if isinstance(text, str) else text
    found = []
    for word in words or (WORD, "p3rs0n"):
        for form in _forms(word):
            start = raw.find(form)
            if start >= 0:
                found.append(f"{form!r} in {raw[max(0, start - 80) : start + 80]!r}")
    return found


def _forms(word: str) -> Iterator[bytes]:
    yield word.encode()
    yield word.encode().hex().encode()
    for before in range(3):  # base64 looks different at each of its three alignments
        encoded = base64.b64encode(b"\x00" * before + word.encode())
        yield encoded[(0, 2, 3)[before] + (before > 0) * 1 : -4]


def body(number: int) -> bytes:
    about = {"displayName": PERSON, "userDisplayName": PERSON}
    more: dict[str, Any] = {"participant": about, "streamKey": STREAM, "recording": {"downloadUrl": LINK}}
    return orjson.dumps(payload(meeting=f"m-{number}", **more) | {"number": number})


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_nothing_tells_what_it_should_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay with every kind of trouble, at its most talkative; and everything that people ask about it."""
    (tmp_path / "secret").write_text(f"{WORD}-file")
    monkeypatch.setenv("RELAY_TEST_SECRET", whsec(f"{WORD}-env"))
    steps = (Answer(401), Answer(503), Reset(), Answer(400), Answer(429, headers={"retry-after": "0"}))
    async with FakeHttp(default=Answer(500, body=WORD.encode())) as http, FakeSlack() as slack:
        http.will(*steps, Hang())
        slack.will(*(Refuse(code) for code in ("invalid_auth", "internal_error", "ratelimited")))
        sinks = secrets(http, slack)
        sinks["crm"]["timeout"] = "500ms"
        file = await asyncio.to_thread(
            lambda: write_config(
                tmp_path, sinks=sinks, admin={"listen": "127.0.0.1:0", "token": f"{WORD}-of-the-admin"}
            )
        )
        async with serving_file(file, "--log-level", "debug", RELAY_TEST_SECRET=whsec(f"{WORD}-env")) as process:
            async with sender(f"http://{process.gateway}") as posting:
                for number in range(8):
                    assert (await posting.post(body(number))).status == 200
                assert (await posting.post(body(9), headers={"dyte-signature": WORD})).status == 401
                assert (await posting.request("POST", f"/{WORD}")).status == 404

                async def in_trouble() -> bool:
                    async with posting.session.get(f"http://{process.admin}/readyz") as response:
                        told = await response.text()
                    # Counted in requests, not in connections: how soon a breaker makes the next one is its own affair.
                    return told.count("broken") == 2 and "paused" in told and len(http.requests) > len(steps)

                await until(in_trouble, "trouble with the sinks")
                asked = ("/metrics", "/readyz", "/livez", f"/{WORD}")
                answers = []
                for path in asked:
                    async with posting.session.get(f"http://{process.admin}{path}") as response:
                        answers.append(await response.text())
            process.process.send_signal(signal.SIGHUP)
            process.process.send_signal(signal.SIGTERM)
            assert await process.ended() == 0
        assert hits(orjson.dumps(process.lines)) == []
        assert [hits(answer) for answer in answers] == [[]] * len(answers)
        assert len(process.lines) > 30, "there was something to look at"
    await _commands_keep_it_too(tmp_path)
    stored = await asyncio.to_thread(lambda: b"".join(part.read_bytes() for part in tmp_path.glob("relay.db*")))
    assert b"p3rs0n" in stored, "what was signed is kept"
    assert hits(stored, WORD) == []


async def _commands_keep_it_too(folder: Path) -> None:
    env = {"RELAY_TEST_SECRET": whsec(f"{WORD}-env")}

    async def ended(*command: str) -> Result:
        arguments = [*command, *([] if command == ("schema",) else ["-c", str(folder / "relay.yaml")])]
        return await asyncio.to_thread(CliRunner().invoke, main, arguments, env=env)

    event_id = orjson.loads((await ended("events", "list", "--json")).stdout)[0]["id"]
    for command in (
        ("check",),
        ("check", "--schema"),
        ("events", "list"),
        ("events", "show", event_id),
        ("events", "show", event_id, "--json"),
        ("deliveries", "list"),
        ("deliveries", "list", "--json"),
        ("why", event_id),
        ("why", event_id, "--json"),
        ("sinks", "list"),
        ("sinks", "list", "--json"),
        ("tail", "--since", "1h", "--for", "0"),
        ("tail", "--since", "1h", "--for", "0", "--json"),
        ("schema",),
        ("catalog", "--asyncapi"),
    ):
        result = await ended(*command)
        assert result.exit_code == 0, result.output
        assert result.stdout, command
        assert hits(result.output) == [], command
    explained = await ended("explain", event_id)
    assert explained.exit_code == 0, explained.output
    assert PERSON in explained.stdout, "it shows what would be sent"
    assert hits(explained.output, WORD, "stream-p3rs0n", "Signature=p3rs0n") == []


EXPECTED = """\
tests:
  - name: nothing is as expected
    given: {file: event.json}
    expect:
      sinks:
        crm: {url: x, curl: x, headers: {authorization: x, x-key: x, webhook-signature: x}, payload: {streamKey: x}}
        bot: {text: x, card: x, payload: {channel: x, streamKey: x}}
        hook: {text: x}
        closed: {topic: x, key: x, payload: {streamKey: x, recording: {downloadUrl: x}}}
"""


async def test_what_would_be_sent_is_told_without_what_is_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text(f"{WORD}-file")
    (tmp_path / "event.json").write_bytes(body(1))
    (tmp_path / "broken.json").write_bytes(b"{" + body(1))
    (tmp_path / "relay.test.yaml").write_text(EXPECTED)
    monkeypatch.setenv("RELAY_TEST_SECRET", whsec(f"{WORD}-env"))
    async with FakeHttp() as http, FakeSlack() as slack:
        config = await asyncio.to_thread(lambda: str(write_config(tmp_path, sinks=secrets(http, slack))))
        for arguments, code in (
            (("explain", str(tmp_path / "event.json")), 0),
            (("explain", str(tmp_path / "event.json"), "--json"), 0),
            (("explain", str(tmp_path / "broken.json"), "--sink", "crm", "--json"), 0),
            (("explain", str(tmp_path / "event.json"), "--source", WORD), 2),
            (("test",), 1),
            (("test", "--json"), 1),
            (("test", "--junit", str(tmp_path / "junit.xml")), 1),
        ):
            ended = await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "-c", config])
            assert ended.exit_code == code, ended.output
            told = ended.output.replace(f"there is no source '{WORD}'", "")
            assert hits(told, WORD, "stream-p3rs0n", "Signature=p3rs0n") == [], arguments
        assert hits((tmp_path / "junit.xml").read_bytes(), WORD, "stream-p3rs0n", "Signature=p3rs0n") == []
        assert slack.requests == []
        assert http.requests == []
        whole = await asyncio.to_thread(
            CliRunner().invoke, main, ["explain", str(tmp_path / "event.json"), "--reveal", "-c", config]
        )
    for shown in (f"/{WORD}-path?key={WORD}-query", f"Bearer {WORD}-header", f"x-key: {WORD}-file", STREAM, LINK):
        assert shown in whole.output, "somebody asked for it"


WRONG: dict[str, str] = {
    "store": f"store: mysql://relay:{WORD}@host/db",
    "store, no database": f"store: postgresql://relay:{WORD}@host",
    "store, no port": f"store: postgresql://relay:{WORD}@host:{WORD}/db",
    "store, password": f"store: postgresql://relay:{WORD}/{WORD}@host/db",
    "store, option": f"store: postgresql://relay:{WORD}@host/db?sslmode={WORD}",
    "token as a list": f"admin: {{token: [{WORD}]}}",
    "key": f"sources: {{dyte: {{public_key: {WORD}}}}}",
    "key URL": f"sources: {{dyte: {{public_key_url: 'http://user:{WORD}@example.com/'}}}}",
    "whsec": f"sinks: {{a: {{type: http, url: 'https://example.com', secret: whsec_{WORD}!}}}}",
    "header": f'sinks: {{a: {{type: http, url: "https://example.com", headers: {{x: "{WORD}\\n"}}}}}}',
    "URL": f"sinks: {{a: {{type: http, url: 'ftp://user:{WORD}@example.com/{WORD}'}}}}",
    "webhook": f"sinks: {{a: {{type: slack, webhook_url: 'http://hooks.slack.com/{WORD}'}}}}",
    "bot token": f"sinks: {{a: {{type: slack, channel: C1, token: 'xoxb {WORD}'}}}}",
    "both ways": f"sinks: {{a: {{type: slack, channel: C1, token: {WORD}, webhook_url: 'https://h/{WORD}'}}}}",
    "password": f"sinks: {{a: {{type: kafka, topic: t, bootstrap_servers: [k:1], sasl_plain_password: {WORD}}}}}",
    "pseudonym key": f"sinks: {{a: {{type: file, path: x, pseudonymize: [a], pseudonym_key: {WORD}}}}}",
    "API key": f"sources: {{dyte: {{api: {{api_key: 'a {WORD}'}}}}}}",
    "API token": f"sources: {{dyte: {{api: {{api_token: {WORD}}}}}}}",
    "API address": f"sources: {{dyte: {{api: {{url: 'http://{WORD}.example'}}}}}}",
    "public address": f"sources: {{dyte: {{public_url: 'https://relay:{WORD}@relay.example'}}}}",
    "from a variable": "admin: {token: '${RELAY_TEST_SECRET}', listen: '${RELAY_TEST_SECRET}'}",
    "from a file": "admin: {token: '${file:secret}', listen: '${file:secret}'}",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in WRONG.items()])
def test_no_mistake_in_the_file_quotes_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "relay.yaml").write_text(text + "\n")
    (tmp_path / "secret").write_text(WORD)
    monkeypatch.setenv("RELAY_TEST_SECRET", WORD)
    for command in ("check", "serve"):
        ended = CliRunner().invoke(main, [command, "-c", str(tmp_path / "relay.yaml")])
        assert ended.exit_code == 2
        assert "relay.yaml:1" in ended.output
        assert hits(ended.output) == []
    by_schema = CliRunner().invoke(main, ["check", "--schema", "-c", str(tmp_path / "relay.yaml")])
    assert by_schema.exit_code in (0, 2)
    assert hits(by_schema.output) == []


REGISTERING = (("plan",), ("apply", "--yes"), ("list",), ("delete", "dyte", "--yes"))


async def _register(folder: Path, api: dict[str, str], code: int) -> None:
    """All that `relay webhooks` says, for people and for machines, about a source whose path is a secret too."""
    source = {"public_url": "https://relay.example", "path": f"/{WORD}-0-webhook", "api": api}
    sinks, routes = {"log": {"type": "file", "path": "-"}}, [{"name": "all", "to": ["log"]}]
    file = folder / "relay.yaml"
    file.write_bytes(orjson.dumps({"sources": {"dyte": source}, "sinks": sinks, "routes": routes}))
    for command in REGISTERING:
        for more in ((), ("--json",)):
            given = ["webhooks", *command, *more, "-c", str(file)]
            ended = await asyncio.to_thread(CliRunner().invoke, main, given)
            assert ended.exit_code == code, ended.output
            assert hits(ended.output) == [], command


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 500])
async def test_registering_tells_no_key_though_the_provider_repeats_it(tmp_path: Path, status: int) -> None:
    key, pair = f"{WORD}-key", base64.b64encode(f"5d7c6e9a:{WORD}-key".encode()).decode()
    echo = orjson.dumps({"message": f"no {key}, no Basic {pair}", "name": key})
    async with FakeHttp(default=Answer(status, body=echo, headers={"location": f"/{WORD}"})) as http:
        await _register(tmp_path, {"organization_id": "5d7c6e9a", "api_key": key, "url": f"{http.url}/v2"}, code=1)
        assert {request.headers["authorization"] for request in http.requests} == {f"Basic {pair}"}
        assert {request.path for request in http.requests} == {"/v2/webhooks"}


async def test_registering_shows_no_address_that_is_a_secret(tmp_path: Path) -> None:
    async with FakeProvider() as fake:
        fake.add(f"https://user:{WORD}@crm.example/hook?token={WORD}", "meeting.ended")
        fake.add(f"https://relay.example/{WORD}-2-webhook", "meeting.ended")
        await _register(tmp_path, {"organization_id": ORGANIZATION, "api_key": API_KEY, "url": fake.dyte_url}, code=0)
        assert [fake.calls.count(method) for method in ("POST", "DELETE")] == [1, 1]


@pytest.mark.parametrize("text", [f"a {WORD} b", base64.b64encode(f"xx{WORD}".encode()).decode(), WORD.encode().hex()])
def test_the_search_finds_it(text: str) -> None:
    assert hits(text)
    assert hits("nothing") == []


@pytest.mark.parametrize(
    "command", [("events", "list"), ("tail", "--for", "1s"), ("migrate",), ("serve", "--no-watch")]
)
def test_a_database_that_does_not_answer_quotes_no_password(tmp_path: Path, command: tuple[str, ...]) -> None:
    url = f"postgresql://relay:{WORD}@127.0.0.1:1/relay?password={WORD}"
    (tmp_path / "relay.yaml").write_text(f"store: '{url}'\nsinks: {{a: {{type: file, path: '-'}}}}\n")
    copying = ("store", "copy", url, f"sqlite:///{tmp_path}/new.db")
    for arguments in ((*command, "-c", str(tmp_path / "relay.yaml")), copying):
        ended = CliRunner().invoke(main, [*arguments])
        assert ended.exit_code == 1, ended.output
        assert "cannot use 127.0.0.1:1/relay" in ended.output
        assert hits(ended.output) == []
