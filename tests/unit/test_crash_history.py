"""The checker of the crash suites: content with a history in which all is well, and with no other."""

from __future__ import annotations

import pytest

from tests.crash.history import Arrival, History, Sent, Stored, problems
from tests.crash.order import Order

NUMBERS = {"1": 10, "2": 20, "3": 30}


def good() -> History:
    """An event that came twice, one whose sender never heard of it, a forged one, and one that became a dead letter."""
    sent = [
        Sent(b"a", acknowledged=("1",)),
        Sent(b"b", unknown=1),
        Sent(b"c", forged=True, refused=1),
        Sent(b"d", acknowledged=("3",)),
    ]
    arrivals = [
        Arrival("1", b"a", accepted=False),
        Arrival("1", b"a"),
        Arrival("1", b"a"),
        Arrival("2", b"b"),
        Arrival("3", b"d", accepted=False, final=True),
    ]
    stored = Stored(numbers=NUMBERS, dead={"http": frozenset({"3"})})
    return History(sent=sent, arrived={"http": arrivals}, stored=stored, kills=1)


def found(history: History) -> list[str]:
    return problems(history, under_way={"http": 1}, ordered=("http",))


def test_it_is_content_where_all_is_well() -> None:
    assert found(good()) == []


def test_it_sees_a_lost_event() -> None:
    history = good()
    history.arrived["http"] = [arrival for arrival in history.arrived["http"] if arrival.event_id != "1"]
    assert "http: lost, though acknowledged: 1 of no meeting" in found(history)


def test_what_was_only_refused_is_lost() -> None:
    history = good()
    history.arrived["http"] = [Arrival("1", b"a", accepted=False), *history.arrived["http"][3:]]
    assert "http: lost, though acknowledged: 1 of no meeting" in found(history)


def test_it_sees_a_sink_that_got_nothing() -> None:
    history = good()
    history.arrived.clear()
    history.stored = Stored(numbers=NUMBERS)
    assert [problem for problem in found(history) if "lost" in problem] == [
        "http: lost, though acknowledged: 1 of no meeting",
        "http: lost, though acknowledged: 3 of no meeting",
    ]


@pytest.mark.parametrize(
    ("arrival", "problem"),
    [
        (Arrival("9", b"a changed body"), "never sent, or changed on the way"),
        (Arrival("9", b"c"), "forged, but delivered"),
        (Arrival("9", b"a"), "2 event ids for one body"),
        (Arrival("2", b"a"), "2 bodies under one event id"),
        (Arrival("1", b"a"), "2 duplicates, more than 1 kills"),
        (Arrival("3", b"d"), "dead, though the sink has taken it"),
    ],
)
def test_it_sees_what_must_not_arrive(arrival: Arrival, problem: str) -> None:
    history = good()
    history.arrived["http"].append(arrival)
    assert any(problem in each for each in found(history))


def test_a_duplicate_for_an_answer_that_the_relay_did_not_get_is_none_too_many() -> None:
    history = good()
    history.arrived["http"].insert(1, Arrival("1", b"a"))
    history.stored = Stored(numbers=NUMBERS, dead=history.stored.dead, unanswered={"http": 1})
    assert found(history) == []


def test_it_sees_a_dead_letter_without_a_reason() -> None:
    history = good()
    history.arrived["http"][-1] = Arrival("3", b"d", accepted=False)
    assert found(history) == ["http: dead, though never refused for good: 3"]


def test_it_sees_a_dead_letter_that_is_missing() -> None:
    history = good()
    history.stored = Stored(numbers=NUMBERS)
    assert "http: refused for good, but no dead letter: 3" in found(history)


def test_it_sees_an_answer_that_names_another_event() -> None:
    history = good()
    history.acknowledge(history.sent[0], "7")
    assert found(history) == ["2 event ids for one body: ['1', '7']"]


def test_it_sees_a_forged_one_that_was_acknowledged() -> None:
    history = good()
    history.acknowledge(history.sent[2], "3")
    assert "forged, but acknowledged: 3 of no meeting" in found(history)


def test_it_sees_an_authentic_one_that_was_refused() -> None:
    history = good()
    history.sent[1].refused = 1
    assert found(history) == ["authentic, but refused for good: no event id of no meeting"]


# Order: events 1, 2 and 3 of one meeting; `-` refused, `!` for good, `+` taken.


def order(arrivals: str) -> Order:
    came = [
        Arrival(each[0], each[0].encode(), accepted=each[1] == "+", final=each[1] == "!") for each in arrivals.split()
    ]
    sent = [Sent(event.encode(), "m", acknowledged=(event,)) for event in NUMBERS]
    return History(sent=sent, arrived={"http": came}, stored=Stored(numbers=NUMBERS)).order("http")


@pytest.mark.parametrize(
    "arrivals",
    ["1+ 2+ 3+", "1+ 1+ 2+ 3+", "1- 1- 1+ 2+ 2+ 3- 3+", "1+ 1- 2+", ""],
    ids=["once", "a duplicate", "retries", "refused as a duplicate", "nothing"],
)
def test_order_was_kept(arrivals: str) -> None:
    assert order(arrivals) == Order(0, 0)


@pytest.mark.parametrize(
    ("arrivals", "inversions", "overtakings"),
    [
        ("1+ 2+ 1+ 3+", 1, 0),
        ("1+ 2+ 1- 3+", 1, 0),
        ("1+ 3+ 2+", 1, 1),
        ("1- 2+ 1+ 3+", 1, 1),
        ("1- 2- 1+ 2+ 3+", 1, 1),
        ("2+ 3+", 0, 1),
    ],
)
def test_order_was_broken(arrivals: str, inversions: int, overtakings: int) -> None:
    assert order(arrivals) == Order(inversions, overtakings)


def test_one_that_is_refused_for_good_lets_the_next_one_go() -> None:
    assert order("1! 1! 2+ 3+") == Order(0, 0)
    assert order("1! 2+ 1! 3+") == Order(1, 0)


def test_a_replay_is_in_nobodys_order() -> None:
    history = good()
    history.arrived["http"] += [Arrival("3", b"d", accepted=False, replayed=True), Arrival("3", b"d", replayed=True)]
    history.arrived["http"].append(Arrival("1", b"a", replayed=True))
    history.stored = Stored(numbers=NUMBERS, unanswered={"http": 1})
    assert found(history) == []


def test_other_meetings_are_in_nobodys_way() -> None:
    sent = [Sent(event.encode(), f"meeting of {event}", acknowledged=(event,)) for event in NUMBERS]
    came = [Arrival(event, event.encode()) for event in ("3", "1", "2")]
    history = History(sent=sent, arrived={"http": came}, stored=Stored(numbers=NUMBERS))
    assert history.order("http") == Order(0, 0)


def test_the_summary_counts_it_all() -> None:
    history = good()
    history.arrived["http"].append(Arrival("1", b"a"))
    told = history.summary(ordered=("http",))
    assert "1 kills, 4 sent" in told
    assert "1 unknown, 0 lost, 1 inversions, 0 overtakings" in told
    assert "http: 6 arrivals, 2 refused, 1 dead, 2 duplicates" in told
