"""`relay webhooks`: what people see and agree to, and what is registered in the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from relay.commands import registering
from tests.commands import harmless, in_terminal, invoke
from tests.fakes.http import Answer, Hang
from tests.fakes.provider import ACCOUNT, API_KEY, API_TOKEN, APP, EVENTS, ORGANIZATION, FakeProvider, Meanwhile

URL, KIT_URL = "https://relay.example/webhooks/dyte", "https://relay.example/webhooks/kit"
STARTS = '{name: starts, events: ["meeting.started"], to: [crm]}'
RECORDINGS = '{name: recordings, events: ["recording.*"], to: [crm]}'


@dataclass
class Scene:
    """A provider on loopback and a relay.yaml that is registered there."""

    folder: Path
    fake: FakeProvider

    def write(self, *routes: str, dyte: str = "", kit: bool = True, timeout: str = "60s") -> None:
        """A relay.yaml with these routes; `dyte` is added to its source."""
        lines = [
            "sources:",
            (
                f"  dyte: {{public_url: 'https://relay.example', api: {{organization_id: {ORGANIZATION}, "
                f"api_key: '${{DYTE_API_KEY:-}}', timeout: {timeout}, url: '{self.fake.dyte_url}'}}{dyte}}}"
            ),
        ]
        if kit:
            lines.append(
                f"  kit: {{provider: realtimekit, public_url: 'https://relay.example', api: {{account_id: {ACCOUNT}, "
                f"app_id: {APP}, api_token: '{API_TOKEN}', url: '{self.fake.cloudflare_url}'}}}}"
            )
        lines += ["  bare: {}", "sinks: {crm: {type: http, url: '${CRM_URL}'}}", f"routes: [{', '.join(routes)}]"]
        (self.folder / "relay.yaml").write_text("\n".join(lines) + "\n")

    async def run(self, *arguments: str, code: int = 0) -> str:
        """What it says on both streams."""
        result = await self.result(*arguments)
        assert result.exit_code == code, result.output
        assert harmless(result.output)
        return result.output

    async def result(self, *arguments: str) -> Result:
        return await invoke(self.folder, "webhooks", *arguments)

    async def json(self, *arguments: str, code: int = 0) -> Any:
        result = await self.result(*arguments, "--json")
        assert result.exit_code == code, result.output
        return json.loads(result.stdout)


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setenv("DYTE_API_KEY", API_KEY)
    async with FakeProvider() as fake:
        made = Scene(tmp_path, fake)
        made.write(RECORDINGS, STARTS)
        yield made


async def test_a_plan_is_a_diff_and_changes_nothing(scene: Scene) -> None:
    known = scene.fake.add(KIT_URL, "meeting.started", "meeting.summary", enabled=False, app=True)
    assert (await scene.run("plan")).splitlines() == [
        f"dyte at Dyte: {URL}",
        "  + register it as dyte-relay/dyte, with 2 events",
        "    + meeting.started         starts",
        "    + recording.statusUpdate  recordings",
        "",
        f"kit at RealtimeKit: {KIT_URL}",
        f"  ~ change the events of {known} (by hand), which stays disabled",
        "      meeting.started         starts",
        "    - meeting.summary         subscribed, and no route takes it",
        "    + recording.statusUpdate  recordings",
        "  ! it is disabled at the provider, and stays so: nothing is sent until somebody enables it there",
        "",
        "1 to register, 1 to change",
        "nothing was changed; do it with `relay webhooks apply`",
    ]
    assert scene.fake.calls == ["GET", "GET"]


async def test_apply_registers_and_corrects_and_is_in_sync_afterwards(scene: Scene) -> None:
    known = scene.fake.add(KIT_URL, "meeting.started", enabled=False, app=True)
    said = await scene.run("apply", "--yes")
    [made] = scene.fake.webhooks
    assert said.splitlines()[-3:] == [
        f"dyte: registered as {made['id']}",
        f"dyte: to let in nothing else, write `webhook_ids: [{made['id']}]`",
        f"kit: changed: {known}",
    ]
    assert (made["url"], made["name"], made["enabled"]) == (URL, "dyte-relay/dyte", True)
    assert scene.fake.app_webhooks[0]["enabled"] is False
    for webhook in (made, scene.fake.app_webhooks[0]):
        assert webhook["events"] == ["meeting.started", "recording.statusUpdate"]
    scene.fake.asked.clear()
    again = await scene.run("apply")
    assert f"= in sync: 2 events, {made['id']} (dyte-relay/dyte)" in again
    assert again.splitlines()[-2:] == ["2 in sync", "nothing to do"]
    assert set(scene.fake.calls) == {"GET"}


async def test_only_the_sources_that_are_named_are_registered(scene: Scene) -> None:
    await scene.run("apply", "kit", "-y")
    assert (len(scene.fake.webhooks), len(scene.fake.app_webhooks)) == (0, 1)
    said = await scene.run("plan", "kitt", code=2)
    assert "there is no source 'kitt'; did you mean kit?" in said


async def test_check_tells_ci_whether_all_is_in_sync(scene: Scene) -> None:
    await scene.run("plan", "--check", code=1)
    await scene.run("apply", "--yes")
    await scene.run("plan", "--check")
    assert (await scene.json("plan", "--check"))["settled"] is True
    scene.write(RECORDINGS)
    await scene.run("plan", "--check", code=1)


async def test_a_plan_is_told_to_machines(scene: Scene) -> None:
    scene.write(
        STARTS, "{name: rest, fallback: true, to: [crm]}", "{name: odd, events: [poll.x], to: [crm]}", kit=False
    )
    stray = scene.fake.add("https://relay.example/webhooks/dyte/", "meeting.ended")
    known = scene.fake.add(URL, "meeting.ended", "meeting.polled")
    told = await scene.json("plan", code=0)
    [source] = told["sources"]
    assert (told["settled"], source["action"], source["source"], source["provider"]) == (
        False,
        "change",
        "dyte",
        "dyte",
    )
    assert (source["idle"], source["missing"]) == ([], sorted(EVENTS - {"meeting.ended"}))
    assert source["only_fallback"] == sorted((EVENTS - {"meeting.started"}) | {"meeting.polled"})
    assert source["wanted"]["meeting.started"] == ["starts"]
    assert [each["id"] for each in source["registrations"]] == [known]
    assert [each["id"] for each in told["strays"]] == [stray]
    assert "routes[2].events[0]: matches none of the known event types" in told["warnings"][0]


async def test_a_person_reads_of_fallbacks_strays_and_unknown_types(scene: Scene) -> None:
    scene.write(
        STARTS, "{name: rest, fallback: true, to: [crm]}", "{name: odd, events: [poll.x], to: [crm]}", kit=False
    )
    stray = scene.fake.add("https://relay.example/webhooks/dyte/", "meeting.ended")
    before = scene.fake.add("https://before.example/hook?key=1", "meeting.ended", name="dyte-relay/dyte")
    said = await scene.run("plan")
    assert "routes[2].events[0]: matches none of the known event types" in said.splitlines()[0]
    assert "    + meeting.ended               rest *" in said
    assert "* only a fallback route takes these: narrow its `events` to be sent less" in said
    assert f"! {stray} (by hand) is at https://relay.example/webhooks/dyte/, where no source is: what is meant" in said
    hint = f"if that was ours before, take it away with `relay webhooks delete --id {before}`"
    assert f"! {before} (dyte-relay/dyte) is at https://before.example/hook?[hidden]: {hint}" in said


async def test_two_registrations_of_one_address_are_left_to_a_person(scene: Scene) -> None:
    scene.write(STARTS, kit=False)
    first = scene.fake.add(URL, "meeting.started")
    second = scene.fake.add(URL, "meeting.ended", enabled=False, name="")
    said = await scene.run("apply", "--yes", code=1)
    assert "! registered 2 times, and each that is enabled brings every event once more; delete all but one" in said
    assert f"    {first}  enabled  by hand\n    {second}  disabled" in said
    assert set(scene.fake.calls) == {"GET"}
    [told] = await scene.json("apply", "--yes", code=1)
    assert (told["action"], told["done"]) == ("doubled", False)
    await scene.run("delete", "--id", second, "--yes")
    assert [each["id"] for each in scene.fake.webhooks] == [first]
    assert "1 in sync" in await scene.run("apply")


async def test_a_source_without_a_route_is_neither_registered_nor_taken_away(scene: Scene) -> None:
    scene.write(kit=False)
    assert "! no route takes an event of this source\n" in await scene.run("apply")
    known = scene.fake.add(URL, "meeting.started")
    said = await scene.run("plan")
    assert (
        f"no route takes an event of this source; end it with `relay webhooks delete dyte`: {known} (by hand)" in said
    )
    assert "- meeting.started  subscribed, and no route takes it" in said
    assert len(scene.fake.webhooks) == 1


async def test_our_own_allow_lists_are_looked_at(scene: Scene) -> None:
    scene.write(STARTS, dyte=", webhook_ids: [w-1], organizations: [o-1]", kit=False)
    planned = await scene.run("plan")
    assert "! sources.dyte.webhook_ids cannot hold its id yet" in planned
    assert "! sources.dyte.organizations lacks the organization_id of its api: all that comes is quarantined" in planned
    said = await scene.run("apply", "--yes")
    [made] = scene.fake.webhooks
    assert f"dyte: sources.dyte.webhook_ids lacks {made['id']}: what it brings is quarantined" in said
    assert "to let in nothing else" not in said


# Agreement


async def test_without_a_terminal_nobody_is_asked_and_nothing_is_done(scene: Scene) -> None:
    scene.fake.add(URL, "meeting.started")
    for command in (("apply",), ("apply", "--json"), ("delete", "dyte"), ("delete", "dyte", "--json")):
        assert "nobody can be asked here, so nothing was changed; say --yes" in await scene.run(*command, code=2)
    assert set(scene.fake.calls) == {"GET"}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a person says who sits at a terminal, in turn."""
    given: list[str] = []

    def confirm(_question: str, *, abort: bool) -> None:
        if given.pop(0) == "no" and abort:
            raise click.Abort

    monkeypatch.setattr(registering, "can_ask", lambda: True)
    monkeypatch.setattr(click, "confirm", confirm)
    return given


async def test_a_person_agrees_or_does_not(scene: Scene, answers: list[str]) -> None:
    answers += ["no", "yes", "no", "yes"]
    await scene.run("apply", code=1)
    assert scene.fake.webhooks == []
    await scene.run("apply")
    assert (len(scene.fake.webhooks), len(scene.fake.app_webhooks)) == (1, 1)
    await scene.run("delete", "--all", code=1)
    assert (len(scene.fake.webhooks), len(scene.fake.app_webhooks)) == (1, 1)
    await scene.run("delete", "--all")
    assert (scene.fake.webhooks, scene.fake.app_webhooks, answers) == ([], [], [])


async def test_what_changed_while_a_person_thought_is_looked_at_again(scene: Scene, answers: list[str]) -> None:
    scene.write(STARTS, kit=False)
    answers += ["yes"]
    scene.fake.on(
        "GET", Answer(200, b'{"success": true, "data": []}'), Meanwhile({"name": "x", "url": URL, "events": []})
    )
    said = await scene.run("apply", code=1)
    assert "something was registered meanwhile, so nothing was changed; look again" in said
    assert "POST" not in scene.fake.calls


# Trouble


async def test_what_fails_for_one_source_does_not_keep_the_next_from_its_turn(scene: Scene) -> None:
    scene.fake.on("POST", Answer(400, b'{"success": false, "error": {"code": 400, "message": "BAD \\u001b[31m"}}'))
    said = await scene.run("apply", "--yes", code=1)
    assert "dyte: Dyte answered 400: BAD \\x1b[31m; it did not like what was sent" in said
    assert (len(scene.fake.webhooks), len(scene.fake.app_webhooks)) == (0, 1)
    scene.fake.on("POST", Answer(400))
    [failed, kept] = await scene.json("apply", "--yes", code=1)
    assert (failed["done"], failed["registration"]) == (False, None)
    assert failed["error"].startswith("Dyte answered 400; ")
    assert (kept["done"], kept["action"], kept["error"]) == (True, "keep", None)
    [made, _] = await scene.json("apply", "--yes")
    assert (made["done"], made["registration"]["url"]) == (True, URL)


async def test_a_list_that_cannot_be_had_ends_it_before_anything_is_changed(scene: Scene) -> None:
    scene.write(RECORDINGS, STARTS, timeout="500ms")
    scene.fake.on("GET", Hang())
    assert "Dyte's API did not answer within 0.5 s" in await scene.run("apply", "--yes", code=1)
    assert scene.fake.calls == ["GET"]


async def test_a_429_is_waited_out_and_told(scene: Scene) -> None:
    scene.write(STARTS, kit=False)
    scene.fake.on("GET", Answer(429, headers={"retry-after": "1"}))
    said = await scene.run("plan")
    assert said.splitlines()[0] == "Dyte asks to wait 1 s (429); waiting …"
    assert scene.fake.calls == ["GET", "GET"]


async def test_a_lost_answer_is_told(scene: Scene) -> None:
    scene.write(STARTS, kit=False)
    scene.fake.on("POST", Meanwhile({"name": "theirs", "url": URL, "events": ["meeting.started"]}))
    said = await scene.run("apply", "--yes")
    assert "dyte: somebody else registered this address meanwhile, so ours is not needed" in said
    assert [each["name"] for each in scene.fake.webhooks] == ["theirs"]


async def test_what_is_missing_is_said_all_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYTE_API_KEY")
    said = await scene.run("plan", "dyte", "bare", code=2)
    where = "and set DYTE_API_KEY where this command runs"
    assert said.splitlines() == [
        "sources.dyte.api.api_key: is missing or empty; write `api_key: ${DYTE_API_KEY:-}`, " + where,
        "sources.bare.public_url: is missing; add `public_url: https://…`, where the sender reaches you",
        (
            'sources.bare.api: is missing; add `api: {organization_id: "${DYTE_ORGANIZATION:-}", '
            'api_key: "${DYTE_API_KEY:-}"}`'
        ),
    ]
    (scene.folder / "relay.yaml").write_text("sources: {kit: {provider: realtimekit}}\n")
    said = await scene.run("plan", code=2)
    assert said.startswith("no source says where it is reached and who may register it; add to relay.yaml")
    said = await scene.run("list", "kit", code=2)
    assert "public_url" not in said
    assert "`api: {account_id:" in said
    (scene.folder / "relay.yaml").write_text("sources: {dyte: {public_ulr: x}}\n")
    assert "relay.yaml:1: sources.dyte.public_ulr: unknown key" in await scene.run("plan", code=2)


# List and delete


async def test_a_list_shows_ours_and_others_and_no_secret(scene: Scene) -> None:
    assert (await scene.run("list")).count("no webhooks") == 2
    other = scene.fake.add("https://crm.example/hook?token=s3cret", "meeting.ended", name="CRM \x1b[31m", enabled=False)
    ours = scene.fake.add(URL, *EVENTS)
    lines = (await scene.run("list", "dyte")).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        f"Dyte {scene.fake.dyte_url}/webhooks",
        "source id state name",
        f"– {other} disabled CRM \\x1b[31m https://crm.example/hook?[hidden]; meeting.ended",
        f"dyte {ours} enabled by hand {URL}; all events; subscribed, and goes nowhere: "
        + ", ".join(sorted(EVENTS - {"meeting.started", "recording.statusUpdate"})),
    ]
    assert "token=s3cret" in await scene.run("list", "--reveal")


async def test_a_list_for_machines(scene: Scene) -> None:
    scene.fake.add("https://crm.example/4f1c0a9e7b5d", "meeting.ended")
    ours = scene.fake.add(KIT_URL, "meeting.started", app=True)
    other, mine = await scene.json("list")
    assert (other["source"], other["url"]) == (None, "https://crm.example/[hidden]")
    assert (mine["source"], mine["provider"], mine["id"]) == ("kit", "realtimekit", ours)
    assert mine["events"] == ["meeting.started"]


async def test_a_list_fits_its_terminal(scene: Scene) -> None:
    ours = scene.fake.add(URL, "meeting.started", "meeting.ended", name="a name that is longer than there is room for")
    file = scene.folder / "relay.yaml"
    file.write_text(file.read_text().replace("${DYTE_API_KEY:-}", API_KEY))
    lines = await asyncio.to_thread(in_terminal, scene.folder, 80, "webhooks", "list", "dyte")
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].startswith(f"dyte    {ours}  enabled  a name that is")
    assert lines[2].endswith("…")
    assert lines[3].strip().startswith(URL)


async def test_only_ours_are_deleted(scene: Scene) -> None:
    other = scene.fake.add("https://crm.example/hook", "meeting.ended")
    ours = scene.fake.add(URL, "meeting.ended")
    named = scene.fake.add("https://before.example/", "meeting.ended", name="dyte-relay/dyte")
    assert f"{other} is none of ours; see `relay webhooks list`" in await scene.run("delete", "--id", other, code=1)
    said = await scene.run("delete", "dyte", "--yes")
    assert said.splitlines() == [f"- dyte  {ours}  {URL}", f"{ours} was deleted"]
    assert [each["id"] for each in scene.fake.webhooks] == [other, named]
    await scene.run("delete", "--id", named, "--yes")
    assert [each["id"] for each in scene.fake.webhooks] == [other]
    assert await scene.run("delete", "--all") == "nothing of ours is registered\n"


async def test_a_deletion_that_fails_or_comes_late_is_told(scene: Scene) -> None:
    first, second, third = (scene.fake.add(URL, "meeting.ended") for _ in range(3))
    scene.fake.on("DELETE", Answer(403), Answer(404))
    said = await scene.run("delete", "dyte", "--yes", code=1)
    assert f"{first}: Dyte answered 403; the API key may not do this" in said
    assert f"{second} was gone already\n{third} was deleted" in said
    assert len(scene.fake.webhooks) == 2
    scene.fake.on("DELETE", Answer(403))
    [failed, gone] = await scene.json("delete", "dyte", "--yes", code=1)
    assert (failed["id"], failed["was_there"], failed["error"][:18]) == (first, False, "Dyte answered 403;")
    assert (gone["was_there"], gone["error"]) == (True, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("delete",), "name the sources, or say --id or --all"),
        (("delete", "--all", "dyte"), "--all excludes names and --id"),
        (("delete", "--all", "--id", "x"), "--all excludes names and --id"),
    ],
)
async def test_wrong_use_is_told(scene: Scene, given: tuple[str, ...], said: str) -> None:
    assert said in await scene.run(*given, code=2)
