"""The JSON API: what it tells, what it changes, and whom it lets in."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from relay.admin.access import ATTEMPTS
from tests.fakes.http import Answer, FakeHttp
from tests.running import Answered, Relay, payload, relay_running, until

TOKEN = "0123456789abcdef-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}
LINK = "https://files.example/a.mp4?X-Amz-Signature=abc"
ADMIN = {"listen": "127.0.0.1:0"}


async def ask(relay: Relay, method: str, path: str, *, body: Any = None, **headers: str) -> Answered:
    """Ask the private side; a body is sent as JSON."""
    more = {} if body is None else {"json": body}
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    url = f"http://{relay.app.admin_address}{path}"
    async with relay.session.request(method, url, headers=named, allow_redirects=False, **more) as response:
        return Answered(response.status, response.headers, await response.read())


def refusing(http: FakeHttp) -> dict[str, Any]:
    return {"crm": {"type": "http", "url": http.url, "allow_private": True}}


# What it tells


async def test_it_tells_what_came_and_where_it_went(tmp_path: Path) -> None:
    async with FakeHttp(default=Answer(400)) as http, relay_running(tmp_path, sinks=refusing(http)) as relay:
        body = payload("recording.statusUpdate", recording={"downloadUrl": LINK}, streamKey="k3y")
        event_id = (await relay.post(body)).json["id"]
        await relay.settled("crm", 1)
        listed = await ask(relay, "GET", "/api/events?type=recording.*&limit=5")
        none = await ask(relay, "GET", "/api/events?type=meeting.*")
        shown = await ask(relay, "GET", f"/api/events/{event_id}")
        with_body = await ask(relay, "GET", f"/api/events/{event_id[:18]}?body=true")
        deliveries = await ask(relay, "GET", f"/api/deliveries?state=dead&sink=crm&event={event_id}")
    assert [each["id"] for each in listed.json] == [event_id]
    assert none.json == []
    [delivery] = shown.json["deliveries"]
    assert (delivery["sink"], delivery["state"], delivery["reason"]) == ("crm", "dead", "refused")
    assert [attempt["reason"] for attempt in delivery["attempts"]] == ["refused"]
    assert deliveries.json == [delivery]
    assert "body" not in shown.json
    assert '"downloadUrl":"[hidden]"' in with_body.json["body"]
    assert "k3y" not in with_body.json["body"]
    assert listed.headers["cache-control"] == "no-store"
    assert listed.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/events/nothing", 404, "no such event"),
        ("/api/events?limit=0", 400, "limit: "),
        ("/api/events?limit=100000", 400, "limit: "),
        ("/api/events?state=odd", 400, "state: "),
        ("/api/events?typ=x", 400, "typ: "),
        ("/api/deliveries?state=odd", 400, "state: "),
    ],
)
async def test_a_wrong_question_is_answered_in_words(tmp_path: Path, path: str, status: int, said: str) -> None:
    async with relay_running(tmp_path) as relay:
        answer = await ask(relay, "GET", path)
    assert answer.status == status
    assert said in answer.json["error"]


# What it changes


async def test_a_sink_is_paused_and_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with FakeHttp() as http, relay_running(tmp_path, sinks=refusing(http)) as relay:

        async def is_in(state: str) -> bool:
            sinks = (await ask(relay, "GET", "/api/sinks")).json
            return [sink["state"] for sink in sinks] == [state]

        await until(lambda: is_in("open"), "word from the lane")
        assert (await ask(relay, "POST", "/api/sinks/crm/pause", body={})).status == 202
        await until(lambda: is_in("paused"), "pause")
        await relay.post()
        assert (await ask(relay, "POST", "/api/sinks/crm/resume", body={})).status == 202
        await relay.delivered("crm", 1)
        unknown = await ask(relay, "POST", "/api/sinks/nobody/pause", body={})
    assert unknown.status == 404
    changes = [record.__dict__["change"] for record in caplog.records if record.message == "admin.changed"]
    assert changes == ["sink.paused", "sink.resumed"]


async def test_dead_letters_are_counted_and_sent_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with FakeHttp(default=Answer(400)) as http, relay_running(tmp_path, sinks=refusing(http)) as relay:
        for number in range(3):
            await relay.post(payload(meeting=f"m-{number}"))
        await relay.settled("crm", 3)
        http.default = Answer(204)
        counted = await ask(relay, "POST", "/api/replay", body={"sink": "crm", "dry_run": True})
        outdated = await ask(relay, "POST", "/api/replay", body={"sink": "crm", "expected": 2})
        replayed = await ask(relay, "POST", "/api/replay", body={"sink": "crm", "expected": 3, "rate": "1000/s"})
        await relay.delivered("crm", 3)
        again = await ask(relay, "POST", "/api/replay", body={"sink": "crm"})
    assert (counted.status, counted.json["count"]) == (200, 3)
    assert [(each["state"], each["count"]) for each in counted.json["by"]] == [("dead", 3)]
    assert (outdated.status, "3 deliveries are meant, not 2" in outdated.json["error"]) == (409, True)
    assert (replayed.status, replayed.json) == (202, {"replayed": 3})
    assert again.json == {"replayed": 0}
    assert [request.headers.get("relay-replay") for request in http.requests] == [None] * 3 + ["1"] * 3
    assert any(record.__dict__.get("meant") == 3 for record in caplog.records)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "name at least one of event, meeting"),
        ({"dry_run": True}, "name at least one"),
        ({"states": []}, "states: "),
        ({"sink": "crm", "states": ["odd"]}, "states.0: "),
        ({"sink": "crm", "since": "yesterday"}, "since: "),
        ({"sink": "crm", "since": "2026-01-01T00:00:00"}, "since: "),
        ({"sink": "crm", "rate": "fast"}, "is not a rate"),
        ({"sinks": "crm"}, "sinks: "),
        ([], "body: "),
    ],
)
async def test_a_replay_that_is_not_meant_so_is_refused(tmp_path: Path, body: Any, said: str) -> None:
    async with relay_running(tmp_path) as relay:
        answer = await ask(relay, "POST", "/api/replay", body=body)
    assert answer.status == 400
    assert said in answer.json["error"]


# Whom it lets in


async def test_with_a_token_nobody_else_is_let_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with relay_running(tmp_path, admin=ADMIN | {"token": TOKEN}) as relay:
        allowed = await ask(relay, "GET", "/api/sinks", **BEARER)
        lower = await ask(relay, "GET", "/api/sinks", authorization=f"bearer {TOKEN}")
        refused = [
            await ask(relay, "GET", "/api/sinks"),
            await ask(relay, "GET", "/api/sinks", authorization="Bearer wrong"),
            await ask(relay, "GET", "/api/sinks", authorization=f"Bearer {TOKEN}x"),
            await ask(relay, "GET", "/api/sinks", authorization=f"Basic {TOKEN}"),
            await ask(relay, "GET", "/api/sinks", authorization="Bearer é"),
            await ask(relay, "GET", f"/api/sinks?token={TOKEN}"),
            await ask(relay, "GET", "/api/sinks", cookie=f"token={TOKEN}"),
            await ask(relay, "POST", "/api/sinks/audit/pause", body={}),
        ]
        open_to_monitoring = [(await ask(relay, "GET", path)).status for path in ("/metrics", "/livez", "/readyz")]
    assert (allowed.status, lower.status) == (200, 200)
    assert [answer.status for answer in refused] == [401] * len(refused)
    assert all(answer.headers["www-authenticate"] == "Bearer" for answer in refused)
    assert open_to_monitoring == [200, 200, 200]
    assert TOKEN not in caplog.text


async def test_who_guesses_has_to_wait_and_who_knows_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with relay_running(tmp_path, admin=ADMIN | {"token": TOKEN}) as relay:
        tried = [await ask(relay, "GET", "/api/sinks", authorization=f"Bearer {n}") for n in range(ATTEMPTS + 2)]
        right = await ask(relay, "GET", "/api/sinks", **BEARER)
        monkeypatch.setattr("relay.admin.access.WINDOW", 0.0)
        later = await ask(relay, "GET", "/api/sinks", authorization="Bearer wrong")
    assert [answer.status for answer in tried] == [401] * ATTEMPTS + [429, 429]
    assert tried[-1].headers["retry-after"] == "60"
    assert (right.status, later.status) == (200, 401)


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost", "LOCALHOST:1", "[::1]:8081"])
async def test_without_a_token_loopback_names_are_let_in(tmp_path: Path, host: str) -> None:
    async with relay_running(tmp_path) as relay:
        assert (await ask(relay, "GET", "/api/sinks", host=host)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "127.0.0.1.evil.example", "127.1", "", "[::"])
async def test_without_a_token_a_name_that_was_pointed_here_is_not(tmp_path: Path, host: str) -> None:
    """DNS rebinding: a page that is served under a name which then becomes 127.0.0.1."""
    async with relay_running(tmp_path) as relay:
        answer = await ask(relay, "GET", "/api/sinks", host=host)
        assert (answer.status, "asked as 127.0.0.1 or localhost only" in answer.json["error"]) == (403, True)
        assert (await ask(relay, "GET", "/metrics", host=host)).status == 200


@pytest.mark.parametrize("name", ["forwarded", "via", "x_forwarded_for", "x_forwarded_proto", "x_real_ip"])
async def test_without_a_token_what_a_proxy_on_this_machine_hands_on_is_not(tmp_path: Path, name: str) -> None:
    async with relay_running(tmp_path) as relay:
        assert (await ask(relay, "GET", "/api/sinks", **{name: "203.0.113.9"})).status == 403


@pytest.mark.parametrize("headers", [{}, BEARER], ids=["loopback", "token"])
async def test_no_page_in_a_browser_can_change_anything(tmp_path: Path, headers: dict[str, str]) -> None:
    admin = ADMIN | ({"token": TOKEN} if headers else {})
    async with relay_running(tmp_path, admin=admin) as relay:
        refused = [
            await ask(relay, "POST", "/api/sinks/audit/pause", **headers),
            await ask(relay, "POST", "/api/sinks/audit/pause", content_type="text/plain", **headers),
            await ask(relay, "POST", "/api/sinks/audit/pause", body={}, origin="http://evil.example", **headers),
            await ask(relay, "POST", "/api/sinks/audit/pause", body={}, sec_fetch_site="cross-site", **headers),
            await ask(relay, "GET", "/api/sinks/audit/pause", **headers),
        ]
        wishes = await relay.app.store.wishes()
    assert [answer.status for answer in refused] == [415, 415, 403, 403, 405]
    assert wishes == {}


async def test_a_body_that_is_too_long_or_no_json_is_refused(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        url = f"http://{relay.app.admin_address}/api/replay"
        json = {"content-type": "application/json"}
        async with relay.session.post(url, data=b"{" * 10, headers=json) as response:
            assert response.status == 400
        async with relay.session.post(url, data=b" " * 100_000, headers=json) as response:
            assert response.status == 413
