"""Whether a sink may be tried: the rules one by one, then any order of attempts against a small model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.gate import BREAKER_FAILURES, PAUSE_WAIT, SUSPECT_EVENTS, Gate
from relay.model import Failure, GateState, Reason
from tests.effort import effort

DOWN = Unavailable(Reason.CONNECT, "refused")
THROTTLED = Unavailable(Reason.THROTTLED, "429", retry_after=timedelta(seconds=30))
DEAD_EVENT = Rejected(Reason.TOO_LARGE, "413")
OUR_TEMPLATE = Rejected(Reason.TEMPLATE, "no such field")
GONE = Misconfigured(Reason.GONE, "410")
PARTLY = Misconfigured(Reason.UNKNOWN_TOPIC, "no such topic", partly=True)
SUSPECT = Misconfigured(Reason.NOT_FOUND, "404", certain=False)
BY_HAND = Failure(reason=Reason.PAUSED, detail="by hand")
LONGEST_HOLD = 3600.0


def fail(gate: Gate, error: DeliveryError, *, now: float, event_id: str = "e1", last: bool = False) -> None:
    gate.begun()
    gate.failed(event_id, error, now, last=last)


def crash(gate: Gate, *, now: float, event_id: str) -> bool:
    gate.begun()
    return gate.crashed(event_id, DOWN.failure, now)


def broken(now: float = 100.0) -> Gate:
    gate = Gate()
    for _ in range(BREAKER_FAILURES):
        fail(gate, DOWN, now=now)
    return gate


def paused(now: float = 100.0) -> Gate:
    gate = Gate()
    fail(gate, GONE, now=now)
    return gate


def test_a_new_gate_lets_everything_through() -> None:
    gate = Gate()
    assert gate.state is GateState.OPEN
    assert gate.failure is None
    assert [gate.allowance(free, 0.0) for free in (0, 1, 32)] == [0, 1, 32]
    assert gate.wait(0.0) == 0.0


def test_five_failures_in_a_row_open_the_breaker() -> None:
    gate = Gate()
    states = []
    for _ in range(5):
        fail(gate, DOWN, now=100.0)
        states.append(gate.state)
    assert states == [GateState.OPEN] * 4 + [GateState.BROKEN]
    assert gate.failure == DOWN.failure
    assert gate.allowance(32, 100.9) == 0
    assert gate.wait(100.0) == pytest.approx(1.0)
    assert gate.allowance(32, 101.0) == 1


@pytest.mark.parametrize("between", ["success", "rejected"])
def test_an_answer_between_failures_starts_the_count_again(between: str) -> None:
    gate = Gate()
    for _ in range(20):
        for _ in range(BREAKER_FAILURES - 1):
            fail(gate, DOWN, now=100.0)
        gate.begun()
        if between == "success":
            gate.succeeded()
        else:
            gate.failed("e1", DEAD_EVENT, 100.0)
    assert gate.state is GateState.OPEN


def test_a_refusal_of_our_own_says_nothing_about_the_sink() -> None:
    gate = broken()
    fail(gate, OUR_TEMPLATE, now=101.0)
    assert gate.state is GateState.BROKEN
    opened = Gate()
    for _ in range(BREAKER_FAILURES):
        fail(opened, OUR_TEMPLATE, now=101.0)
        fail(opened, DOWN, now=101.0)
    assert opened.state is GateState.BROKEN


@pytest.mark.parametrize("closed", [broken, paused])
def test_a_success_always_opens(closed: object) -> None:
    gate = broken() if closed is broken else paused()
    gate.begun()
    gate.succeeded()
    assert gate.state is GateState.OPEN
    assert gate.failure is None
    assert gate.allowance(32, 100.0) == 32
    assert gate.wait(100.0) == 0.0
    for _ in range(BREAKER_FAILURES - 1):  # and the counts start again
        fail(gate, DOWN, now=100.0)
    assert gate.state is GateState.OPEN


@pytest.mark.parametrize("before", [Gate, broken, paused])
@pytest.mark.parametrize("then", ["nothing", "success", "down", "gone", "rejected"])
def test_a_person_pauses_it_whatever_happens_then(before: Callable[[], Gate], then: str) -> None:
    gate = before()
    gate.begun()
    gate.pause(BY_HAND)
    match then:
        case "success":
            gate.succeeded()
        case "nothing":
            gate.cancelled()
        case _:
            gate.failed("e1", {"down": DOWN, "gone": GONE, "rejected": DEAD_EVENT}[then], 100.0)
    assert (gate.state, gate.failure) == (GateState.PAUSED, BY_HAND)
    assert gate.allowance(32, 1e9) == 0, "not even a probe"
    assert gate.wait(1e9) == inf
    gate.resume()
    assert (gate.state, gate.failure, gate.wait(100.0)) == (GateState.OPEN, None, 0.0)
    assert gate.allowance(32, 100.0) == 32


def test_a_certain_misconfiguration_pauses_at_once() -> None:
    gate = paused()
    assert gate.state is GateState.PAUSED
    assert gate.failure == GONE.failure
    assert gate.allowance(32, 114.9) == 0
    assert gate.allowance(32, 115.0) == 1


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ("a", GateState.OPEN),
        ("ab", GateState.OPEN),
        ("aaaaaaaaaa", GateState.OPEN),
        ("ababababab", GateState.OPEN),
        ("abc", GateState.PAUSED),
        ("aabbabc", GateState.PAUSED),
    ],
)
def test_three_different_events_in_a_row_show_that_it_is_the_sink(events: str, state: GateState) -> None:
    gate = Gate()
    for event_id in events:
        fail(gate, SUSPECT, now=100.0, event_id=event_id)
    assert gate.state is state


@pytest.mark.parametrize("between", [DOWN, DEAD_EVENT, None])
def test_any_other_answer_breaks_the_row_of_suspects(between: DeliveryError | None) -> None:
    gate = Gate()
    for event_id in "abcdefgh":
        fail(gate, SUSPECT, now=100.0, event_id=event_id)
        if event_id in "bdfh":
            gate.begun()
            if between is None:
                gate.succeeded()
            else:
                gate.failed("x", between, 100.0)
    assert gate.state is GateState.OPEN


@pytest.mark.parametrize("between", [None, DEAD_EVENT, PARTLY, DOWN])
def test_the_last_attempt_of_an_event_pauses_a_sink_that_took_nothing_since(between: DeliveryError | None) -> None:
    """In one meeting that keeps its order no second event is ever tried, and the first would die of a wrong token."""
    gate = Gate()
    fail(gate, SUSPECT, now=100.0)
    fail(gate, SUSPECT, now=100.0)
    if between is None:
        gate.begun()
        gate.succeeded()
    else:
        fail(gate, between, now=100.0, event_id="other")
    fail(gate, SUSPECT, now=100.0, last=True)
    states = [gate.state]  # it took another one, or may have been away: this one may be to blame
    fail(gate, SUSPECT, now=100.0, last=True)
    states.append(gate.state)
    assert states == [GateState.OPEN, GateState.PAUSED]
    assert gate.failure == SUSPECT.failure


def test_one_suspect_does_not_turn_a_broken_gate_into_a_paused_one() -> None:
    gate = broken(100.0)
    states, waits = [], []
    for event_id, now in (("a", 101.0), ("b", 103.0), ("c", 107.0)):
        fail(gate, SUSPECT, now=now, event_id=event_id)
        states.append(gate.state)
        waits.append(gate.wait(now))
    assert states == [GateState.BROKEN, GateState.BROKEN, GateState.PAUSED]
    assert waits == pytest.approx([2.0, 4.0, PAUSE_WAIT.first])


def test_what_needs_a_person_stays_paused_whatever_a_probe_meets() -> None:
    gate = paused(100.0)
    fail(gate, DOWN, now=115.0)
    assert gate.state is GateState.PAUSED
    assert gate.failure == GONE.failure
    assert gate.wait(115.0) == pytest.approx(30.0)
    fail(gate, SUSPECT, now=145.0)
    assert gate.state is GateState.PAUSED
    assert gate.wait(145.0) == pytest.approx(60.0)


def test_a_broken_gate_can_become_paused_and_waits_as_a_paused_one() -> None:
    gate = broken(100.0)
    for now in (101.0, 103.0, 107.0, 115.0):
        fail(gate, DOWN, now=now)
    fail(gate, GONE, now=131.0)
    assert gate.state is GateState.PAUSED
    assert gate.wait(131.0) == pytest.approx(PAUSE_WAIT.first)


@pytest.mark.parametrize(
    ("gate", "error", "waits"),
    [
        (broken(0.0), DOWN, [1, 2, 4, 8, 16, 32, 60, 60, 60]),
        (paused(0.0), GONE, [15, 30, 60, 120, 240, 480, 900, 900, 900]),
    ],
)
def test_the_wait_for_the_next_probe_doubles_up_to_its_longest(
    gate: Gate, error: DeliveryError, waits: list[float]
) -> None:
    now = 0.0
    for expected in waits:
        assert gate.wait(now) == pytest.approx(expected)
        now += expected
        assert gate.allowance(32, now) == 1
        fail(gate, error, now=now)


def test_years_of_failed_probes_overflow_nothing() -> None:
    gate = broken(0.0)
    now = 0.0
    for _ in range(5000):
        now += gate.wait(now)
        fail(gate, DOWN, now=now)
    assert gate.wait(now) == pytest.approx(60.0)


def test_there_is_one_probe_at_a_time() -> None:
    gate = broken(100.0)
    assert gate.allowance(32, 200.0) == 1
    gate.begun()
    assert gate.allowance(32, 200.0) == 0
    assert gate.allowance(32, 10_000.0) == 0
    gate.cancelled()
    assert gate.allowance(0, 10_000.0) == 0
    assert gate.allowance(32, 10_000.0) == 1


@pytest.mark.parametrize("end", [DOWN, SUSPECT, GONE, THROTTLED, OUR_TEMPLATE, None])
def test_what_was_begun_while_the_gate_was_open_lets_no_second_probe_through(end: DeliveryError | None) -> None:
    """Thirty-two attempts run, five fail and close the gate: the others end while the probe is under way."""
    gate = Gate()
    for _ in range(BREAKER_FAILURES + 2):
        gate.begun()
    for _ in range(BREAKER_FAILURES):
        gate.failed("e1", DOWN, 100.0)
    under_way = 2
    now = 100.0
    for _ in range(2):
        now += 1000.0
        allowed = gate.allowance(32, now)
        assert allowed + under_way <= 2
        if allowed:
            gate.begun()
            under_way += 1
        if end is None:
            gate.cancelled()
        else:
            gate.failed("late", end, now)
        under_way -= 1
        assert gate.allowance(32, now + 5000.0) + under_way <= 1


def test_failures_that_were_under_way_when_it_closed_do_not_put_the_probe_off() -> None:
    gate = Gate()
    for _ in range(32):
        gate.begun()
    for late in range(32):
        gate.failed(f"e{late}", DOWN, 100.0 + late / 100)
    assert gate.allowance(32, 101.1) == 1


def test_a_sink_that_says_when_is_left_alone_until_then_and_stays_open() -> None:
    gate = Gate()
    for _ in range(50):
        fail(gate, THROTTLED, now=100.0)
    assert gate.state is GateState.OPEN
    assert gate.allowance(32, 129.9) == 0
    assert gate.wait(100.0) == pytest.approx(30.0)
    assert gate.allowance(32, 130.0) == 32


def test_a_sink_that_only_ever_puts_us_off_is_broken() -> None:
    gate = Gate()
    states = []
    for hold in range(BREAKER_FAILURES):
        for _ in range(32):
            fail(gate, THROTTLED, now=100.0 + 30.0 * hold)
        states.append(gate.state)
    assert states == [GateState.OPEN] * 4 + [GateState.BROKEN]
    assert gate.failure == THROTTLED.failure
    assert gate.allowance(32, 249.9) == 0
    assert gate.allowance(32, 250.0) == 1


def test_a_sink_that_is_slow_but_takes_something_is_not_broken() -> None:
    gate = Gate()
    for hold in range(50):
        gate.begun()
        gate.succeeded()
        fail(gate, THROTTLED, now=100.0 + 30.0 * hold)
    assert gate.state is GateState.OPEN


@pytest.mark.parametrize(("gate", "first", "longest"), [(broken(0.0), 1.0, 60.0), (paused(0.0), 15.0, 900.0)])
def test_a_closed_gate_probes_ever_more_rarely_also_where_a_probe_is_put_off(
    gate: Gate, first: float, longest: float
) -> None:
    at_once = Unavailable(Reason.UNAVAILABLE, "503", retry_after=timedelta(0))
    now, failure = 0.0, gate.failure
    waits = []
    for _ in range(12):
        waits.append(gate.wait(now))
        now += waits[-1]
        fail(gate, at_once, now=now)
    assert waits[:3] == pytest.approx([first, 2 * first, 4 * first])
    assert waits[-1] == pytest.approx(longest)
    assert (gate.failure == failure) is (longest == PAUSE_WAIT.longest), "why a person is needed is not forgotten"


def test_the_time_that_a_sink_asked_for_is_added_up_once() -> None:
    gate = Gate()
    for now in (100.0, 100.0, 110.0, 200.0):
        fail(gate, THROTTLED, now=now)
    assert gate.held_seconds == pytest.approx(40.0 + 30.0)


def test_the_longest_hold_counts() -> None:
    gate = Gate()
    fail(gate, THROTTLED, now=100.0)
    fail(gate, Unavailable(Reason.THROTTLED, "429", retry_after=timedelta(seconds=1)), now=100.0)
    assert gate.wait(100.0) == pytest.approx(30.0)


# A part of the sink; errors of ours


def test_one_topic_of_several_closes_nothing() -> None:
    """Else one that was forgotten would stop all: each probe would be another of its events."""
    gate = Gate()
    for number in range(50):
        fail(gate, PARTLY, now=100.0, event_id=f"e{number}")
    assert gate.state is GateState.OPEN
    assert gate.allowance(32, 100.0) == 32


@pytest.mark.parametrize("gate", [broken(), paused()])
def test_a_sink_that_names_the_topic_is_there(gate: Gate) -> None:
    fail(gate, PARTLY, now=101.0)
    assert gate.state is GateState.OPEN


def test_one_event_that_crashes_is_to_blame_and_closes_nothing() -> None:
    gate = Gate()
    assert all(crash(gate, now=100.0, event_id=event_id) for event_id in "aabaabbab")
    assert gate.state is GateState.OPEN


def test_where_different_events_crash_in_a_row_it_is_no_events_fault() -> None:
    gate = Gate()
    to_blame = [crash(gate, now=100.0, event_id=event_id) for event_id in "aabcda"]
    assert to_blame == [True, True, True, False, False, False]
    assert gate.state is GateState.BROKEN
    assert gate.allowance(32, 101.0) == 1


def test_a_success_in_between_shows_that_the_events_are_to_blame() -> None:
    gate = Gate()
    for event_id in "abcdefgh":
        assert crash(gate, now=100.0, event_id=event_id)
        assert crash(gate, now=100.0, event_id=event_id)
        gate.begun()
        gate.succeeded()
    assert gate.state is GateState.OPEN


@pytest.mark.parametrize(
    ("gate", "first", "state"), [(broken(0.0), 1.0, GateState.BROKEN), (paused(0.0), 15.0, GateState.PAUSED)]
)
def test_a_probe_that_crashes_puts_the_next_one_off(gate: Gate, first: float, state: GateState) -> None:
    now = gate.wait(0.0)
    assert crash(gate, now=now, event_id="a")
    assert gate.state is state
    assert gate.wait(now) == pytest.approx(2 * first)


def test_a_person_can_open_it() -> None:
    gate = paused()
    fail(gate, THROTTLED, now=100.0)
    gate.resume()
    assert gate.state is GateState.OPEN
    assert gate.failure is None
    assert gate.wait(100.0) == 0.0
    assert gate.allowance(32, 100.0) == 32


class AnyOrder(RuleBasedStateMachine):
    """A lane with many attempts under way that end in any order, against what the docstrings of the gate promise."""

    @initialize()
    def start(self) -> None:
        self.gate = Gate()
        self.now = 1000.0
        self.under_way: list[str] = []
        self.begun = 0
        self.in_a_row = 0
        self.suspects: set[str] = set()
        self.expected = GateState.OPEN
        self.held_until = 0.0
        self.crashed: set[str] = set()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 10.0, 100.0, 2000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def time_passes_until_the_gate_says(self) -> None:
        self.now += self.gate.wait(self.now)

    @rule(wanted=st.integers(1, 8))
    def begin(self, wanted: int) -> None:
        allowed = self.gate.allowance(wanted, self.now)
        assert 0 <= allowed <= wanted
        if self.now < self.held_until:
            assert allowed == 0
        elif self.expected is GateState.OPEN:
            assert allowed == wanted
        else:
            assert allowed + len(self.under_way) <= 1 or allowed == 0
        self._begin(allowed)

    @rule(count=st.integers(1, 4))
    def begin_what_was_claimed_before_it_closed(self, count: int) -> None:
        self._begin(count)

    def _begin(self, count: int) -> None:
        for _ in range(count):
            self.begun += 1
            self.under_way.append(f"e{self.begun % 5}")
            self.gate.begun()

    def _end(self, which: int) -> str:
        return self.under_way.pop(which % len(self.under_way))

    def _heard(self) -> None:
        self.in_a_row, self.suspects, self.crashed, self.expected = 0, set(), set(), GateState.OPEN

    def _failed(self) -> None:
        self.in_a_row += 1
        if self.expected is GateState.OPEN and self.in_a_row >= BREAKER_FAILURES:
            self.expected = GateState.BROKEN

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def success(self, which: int) -> None:
        self._end(which)
        self.gate.succeeded()
        self._heard()
        assert self.gate.state is GateState.OPEN

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def down(self, which: int) -> None:
        self.gate.failed(self._end(which), DOWN, self.now)
        self.suspects = set()
        self._failed()

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99), last=st.booleans())
    def suspect(self, which: int, *, last: bool) -> None:
        event_id = self._end(which)
        self.gate.failed(event_id, SUSPECT, self.now, last=last)
        again = event_id in self.suspects
        self.suspects.add(event_id)
        if len(self.suspects) >= SUSPECT_EVENTS or (last and again):
            self.expected = GateState.PAUSED

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def crash(self, which: int) -> None:
        event_id = self._end(which)
        self.crashed.add(event_id)
        assert self.gate.crashed(event_id, DOWN.failure, self.now) is (len(self.crashed) < SUSPECT_EVENTS)
        if self.expected is GateState.OPEN and len(self.crashed) >= SUSPECT_EVENTS:
            self.expected = GateState.BROKEN

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99))
    def gone(self, which: int) -> None:
        self.gate.failed(self._end(which), GONE, self.now)
        self.expected = GateState.PAUSED

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99), error=st.sampled_from([DEAD_EVENT, PARTLY]))
    def not_this_event(self, which: int, error: DeliveryError) -> None:
        self.gate.failed(self._end(which), error, self.now)
        self._heard()

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99), how=st.sampled_from(["cancelled", "template"]))
    def nothing_learnt(self, which: int, how: str) -> None:
        event_id = self._end(which)
        if how == "cancelled":
            self.gate.cancelled()
        else:
            self.gate.failed(event_id, OUR_TEMPLATE, self.now)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 99), seconds=st.integers(0, 3600))
    def throttled(self, which: int, seconds: int) -> None:
        error = Unavailable(Reason.THROTTLED, "429", retry_after=timedelta(seconds=seconds))
        self.gate.failed(self._end(which), error, self.now)
        asked_again = self.now >= self.held_until
        self.held_until = max(self.held_until, self.now + seconds)
        if asked_again:
            self._failed()

    @rule()
    def person(self) -> None:
        self.gate.resume()
        self._heard()
        self.held_until = 0.0

    @invariant()
    def state_is_what_was_learnt(self) -> None:
        assert self.gate.state is self.expected
        assert (self.gate.failure is None) == (self.expected is GateState.OPEN)

    @invariant()
    def nobody_waits_longer_than_the_longest_wait(self) -> None:
        assert 0.0 <= self.gate.wait(self.now) <= max(PAUSE_WAIT.longest, LONGEST_HOLD)

    def teardown(self) -> None:
        """However it stands: once all that is under way has ended, a probe gets through, and its success opens."""
        if not hasattr(self, "gate"):
            return
        for _ in self.under_way:
            self.gate.cancelled()
        later = self.now + self.gate.wait(self.now)
        assert self.gate.allowance(32, later + 1e-6) in (1, 32)
        self.gate.begun()
        self.gate.succeeded()
        assert self.gate.state is GateState.OPEN
        assert self.gate.allowance(32, later + 1e-6) == 32


AnyOrder.TestCase.settings = settings(max_examples=effort(60), stateful_step_count=40)
TestAnyOrder = AnyOrder.TestCase
