"""The bundled examples: each event, each provider, readable by the catalogue."""

from __future__ import annotations

import orjson
import pytest

from relay.events import CATALOGUE, parse_event
from relay.simulator import EXAMPLES, Provider, example

PROVIDERS: tuple[Provider, ...] = ("dyte", "realtimekit")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_an_event_that_the_catalogue_reads_whole(name: str, provider: Provider) -> None:
    event = parse_event(orjson.dumps(example(name, provider=provider)))
    assert name.startswith(event.event)
    assert type(event) is CATALOGUE[event.event]
    assert event.unreadable == {}
    status = getattr(getattr(event, "recording", event), "status", None)
    assert status is None or name.endswith(f".{status.lower()}")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_there_is_one_for_each_event_and_its_bare_name_is_enough(provider: Provider) -> None:
    for event in CATALOGUE:
        assert example(event, provider=provider)["event"] == event


def test_a_bare_name_stands_for_the_most_telling_state() -> None:
    assert example("recording.statusUpdate")["recording"]["status"] == "UPLOADED"
    assert example("livestreaming.statusUpdate")["status"] == "LIVE"


def test_two_askers_do_not_share_what_they_get() -> None:
    example("meeting.started")["meeting"]["title"] = "changed"
    assert example("meeting.started")["meeting"]["title"] == "Weekly sync"


def test_there_is_no_other() -> None:
    with pytest.raises(KeyError):
        example("meeting.exploded")
