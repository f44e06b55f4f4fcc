"""What has to change at the provider: from routes and what is registered to one step for each source."""

from __future__ import annotations

import pytest

from relay.registration import Action, Registration, Step, cautions, plan, strays
from relay.registration.plan import oldest_first
from relay.routing import Route, RouteOptions
from relay.vocabulary import KNOWN_TYPES

URL = "https://relay.example/webhooks/dyte"


def route(name: str, *events: str, **more: object) -> Route:
    return Route(RouteOptions.model_validate({"name": name, "events": events or ("*",), "to": ("log",), **more}))


def registered(*events: str, id: str = "a", url: str = URL, **more: object) -> Registration:  # noqa: A002
    about: dict[str, object] = {"id": id, "name": "by hand", "url": url, "enabled": True, **more}
    return Registration(events=frozenset(events), **about)  # type: ignore[arg-type]


def planned(routes: list[Route], *existing: Registration) -> Step:
    return plan("dyte", URL, routes, existing)


ENDED = route("ends", "meeting.ended")


def test_what_is_not_registered_is_created_with_exactly_what_routes_take() -> None:
    step = planned([route("recordings", "recording.*"), ENDED], registered("meeting.ended", url=URL + "/other"))
    assert (step.action, step.name, step.found) == (Action.CREATE, "dyte-relay/dyte", ())
    assert step.wanted == {"meeting.ended": ("ends",), "recording.statusUpdate": ("recordings",)}
    assert (step.changes, step.settled) == (True, False)


def test_what_is_right_is_kept_whatever_it_is_called_and_whether_it_is_enabled() -> None:
    step = planned([ENDED], registered("meeting.ended", enabled=False, name="mine"))
    assert (step.action, step.changes, step.settled) == (Action.KEEP, False, True)


def test_a_change_tells_what_nobody_subscribed_to_and_what_goes_nowhere() -> None:
    step = planned([ENDED, route("starts", "meeting.started")], registered("meeting.ended", "meeting.summary"))
    assert step.action is Action.CHANGE
    assert (step.missing, step.idle) == (["meeting.started"], ["meeting.summary"])
    assert step.subscribed == {"meeting.ended", "meeting.summary"}


def test_a_route_of_another_source_asks_for_nothing_here() -> None:
    assert planned([route("kit", sources=("realtimekit",)), ENDED]).wanted == {"meeting.ended": ("ends",)}
    assert planned([route("ours", "meeting.ended", sources=("dyte",))]).wanted == {"meeting.ended": ("ours",)}


def test_a_condition_on_the_payload_does_not_lessen_what_is_needed() -> None:
    step = planned([route("some", "recording.*", where="recording.status == 'UPLOADED'")])
    assert set(step.wanted) == {"recording.statusUpdate"}


def test_a_fallback_counts_and_is_told_apart() -> None:
    step = planned([ENDED, route("rest", fallback=True)])
    assert set(step.wanted) == KNOWN_TYPES
    assert step.wanted["meeting.ended"] == ("ends",), "there the fallback gets nothing"
    assert step.wanted["meeting.summary"] == ("rest",)
    assert step.only_fallback == KNOWN_TYPES - {"meeting.ended"}


def test_a_type_that_we_do_not_know_is_never_added_but_kept_where_a_route_takes_it() -> None:
    poll = route("polls", "meeting.pollCreated")
    assert planned([poll]).action is Action.UNNEEDED
    assert planned([poll, ENDED]).wanted == {"meeting.ended": ("ends",)}
    kept = planned([poll, ENDED], registered("meeting.ended", "meeting.pollCreated"))
    assert kept.action is Action.KEEP
    assert planned([ENDED], registered("meeting.ended", "meeting.pollCreated")).idle == ["meeting.pollCreated"]


def test_without_a_route_nothing_is_registered_and_nothing_is_taken_away() -> None:
    nothing, left = planned([]), planned([], registered("meeting.ended"))
    assert (nothing.action, nothing.changes, nothing.settled) == (Action.UNNEEDED, False, True)
    assert (left.action, left.changes, left.settled) == (Action.UNNEEDED, False, False)
    assert left.idle == ["meeting.ended"]


def test_of_two_neither_is_touched() -> None:
    step = planned([ENDED], registered("meeting.ended", id="b"), registered("meeting.started", id="a"))
    assert (step.action, step.changes, step.settled) == (Action.DOUBLED, False, False)
    assert [each.id for each in step.found] == ["a", "b"]
    assert (step.missing, step.idle) == ([], ["meeting.started"])


def test_the_oldest_comes_first_whoever_looks() -> None:
    old, young = registered(id="z", created="2026-01-01T00:00:00Z"), registered(id="b", created="2026-02-01T00:00:00Z")
    undated, twin = registered(id="a"), registered(id="c", created="2026-02-01T00:00:00Z")
    assert [each.id for each in oldest_first([undated, twin, young, old])] == ["z", "b", "c", "a"]


def told(step: Step, *ids: str, organization: str | None = None, organizations: tuple[str, ...] = ()) -> str:
    return "\n".join(cautions(step, webhook_ids=ids, organization=organization, organizations=organizations))


def test_it_is_said_when_our_own_lists_keep_out_what_comes() -> None:
    kept = planned([ENDED], registered("meeting.ended", id="a"))
    assert told(kept) == told(kept, "a") == told(kept, organization="o", organizations=("o",)) == ""
    assert told(kept, "b") == "sources.dyte.webhook_ids lacks a: what it brings is quarantined"
    assert "webhook_ids cannot hold its id yet" in told(planned([ENDED]), "b")
    assert "organizations lacks the organization_id" in told(kept, organization="o", organizations=("p",))
    assert told(kept, organization=None, organizations=("p",)) == ""


def test_it_is_said_when_the_provider_sends_nothing() -> None:
    off = registered("meeting.ended", enabled=False)
    assert "disabled at the provider" in told(planned([ENDED], off))
    assert "disabled" not in told(planned([ENDED], off, off)), "of two it is said elsewhere"


@pytest.mark.parametrize(
    ("url", "name", "named"),
    [
        ("https://relay.example/webhooks/dyte/", "x", False),
        ("https://RELAY.example:443/", "x", False),
        ("https://before.example/webhooks/dyte", "dyte-relay/dyte", True),
        ("https://relay.example/gone", "dyte-relay/dyte", True),
    ],
)
def test_what_looks_as_if_it_were_meant_for_us_is_named(url: str, name: str, *, named: bool) -> None:
    [found] = strays({"dyte": URL}, [registered(url=url, name=name)])
    assert found.named is named


@pytest.mark.parametrize("url", [URL, "https://other.example/", "http://relay.example/", "https://relay.example:8443/"])
def test_ours_and_what_has_nothing_to_do_with_us_is_not(url: str) -> None:
    assert strays({"dyte": URL}, [registered(url=url)]) == []
