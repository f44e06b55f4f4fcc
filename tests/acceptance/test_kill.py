"""kill -9 under load: nothing that was acknowledged is lost, nothing is made up, and little comes twice."""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom

import pytest

from tests.crash.harness import IN_FLIGHT, run
from tests.crash.history import Arrival, History, Sent, problems


async def test_no_kill_loses_an_acknowledged_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = SystemRandom().randrange(1 << 32)
    with capsys.disabled():
        print(f"\nseed {seed}")  # noqa: T201 - to run it again: python -m tests.crash --cycles 5 --seed …
    history = await run(tmp_path, cycles=5, seed=seed)
    assert problems(history, in_flight=IN_FLIGHT) == []
    assert history.kills == 5
    assert sum(bool(sent.acknowledged) for sent in history.sent) > 100, history.summary()


# The checker itself: a history in which all is well, and what it must say of one in which something is not.


def good() -> History:
    sent = [Sent(body=b"a", acknowledged={"1"}), Sent(body=b"b", unknown=1), Sent(body=b"c", forged=True)]
    arrivals = [Arrival("1", b"a"), Arrival("1", b"a"), Arrival("2", b"b")]
    return History(sent=sent, arrived={"http": arrivals}, kills=1)


def found(history: History) -> list[str]:
    return problems(history, in_flight={"http": 1})


def test_the_checker_is_content_where_all_is_well() -> None:
    assert found(good()) == []


def test_the_checker_sees_a_lost_event() -> None:
    history = good()
    history.arrived["http"] = [Arrival("2", b"b")]
    assert found(history) == ["http: lost, though acknowledged: b'a'"]


def test_the_checker_sees_a_sink_that_got_nothing() -> None:
    history = good()
    history.arrived.clear()
    assert found(history) == ["http: lost, though acknowledged: b'a'"]


@pytest.mark.parametrize(
    ("arrival", "problem"),
    [
        (Arrival("9", b"a changed body"), "never sent, or changed on the way"),
        (Arrival("9", b"c"), "forged, but delivered"),
        (Arrival("9", b"a"), "2 event ids for one body"),
        (Arrival("2", b"a"), "2 bodies under one event id"),
        (Arrival("1", b"a"), "more than 1 kills"),
    ],
)
def test_the_checker_sees_what_must_not_arrive(arrival: Arrival, problem: str) -> None:
    history = good()
    history.arrived["http"].append(arrival)
    assert any(problem in each for each in found(history))


def test_the_checker_sees_an_answer_that_names_another_event() -> None:
    history = good()
    history.sent[0].acknowledged.add("7")
    assert found(history) == ["2 event ids for one body: b'a'"]


def test_the_checker_sees_a_forged_one_that_was_acknowledged() -> None:
    history = good()
    history.sent[2].acknowledged.add("3")
    assert "forged, but acknowledged: b'c'" in found(history)
