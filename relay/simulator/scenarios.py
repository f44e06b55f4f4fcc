"""Scripts of whole meetings, by name. A script yields what the sender would send, and when, in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType
from uuid import UUID

from relay.model import value
from relay.payload import Payload
from relay.simulator.meeting import Meeting, Recording, Stream, Visit
from relay.simulator.shapes import SHAPES, Document, Provider, Shape

START = datetime(2026, 6, 3, 10, tzinfo=UTC)
"""When simulated time begins; fixed, so that the same seed gives the same bytes on every day."""

ORGANIZATION = "c94c437b-592a-4a39-b9e2-47ef1451e43b"
"""The organization that simulated meetings belong to."""

TITLES = (
    "Weekly sync",
    "Algebra, group 3",
    "Grüße aus Köln 👋",
    "第三季度回顾",
    "Entretien d'embauche",
    'Sales & "Ops"',
)
NAMES = (
    *("Mary Sue", "Zoë Müller", "Siobhán O'Brien", "张伟", "أمينة الزهراء", "Nguyễn Văn An", "Łukasz Żółć", "Дмитрий"),
    *("दीपा शर्मा", "김민준", "👩‍💻 Dana", "<b>Bob</b> & Co", 'Ann "Annie" Lee', "José", "Ωmega", "תמר"),
)
_CALLERS = {"ALL_PEERS_LEFT": "INTERNAL", "API_CALL": "ORGANIZATION"}
"""Who stops a recording, by why it stops."""


@value
class Moment:
    """One event of a meeting, at the time at which it happens."""

    at: datetime
    meeting: str
    """Id of the meeting; some of Dyte's events do not name it themselves."""
    payload: Payload

    @property
    def event(self) -> str:
        """Name of the event."""
        return str(self.payload["event"])


class Stage:
    """One meeting to play: its facts, who writes its events down, and the dice."""

    def __init__(self, dice: Random, shape: Shape, meeting: Meeting, participants: int | None) -> None:
        self.dice = dice
        self.shape = shape
        self.meeting = meeting
        self.participants = participants

    def uuid(self) -> str:
        """A random UUID, the same for the same dice."""
        return str(UUID(int=self.dice.getrandbits(128), version=4))

    def between(self, low: float, high: float) -> timedelta:
        """A time of `low` to `high` seconds, in whole milliseconds."""
        return timedelta(milliseconds=round(self.dice.uniform(low, high) * 1000))

    def moment(self, at: datetime, payload: Payload) -> Moment:
        """Something happens in this meeting."""
        return Moment(at=at, meeting=self.meeting.id, payload=payload)


Script = Callable[[Stage], Iterator[Moment]]


@value
class Scenario:
    """A named script."""

    name: str
    description: str
    script: Script


def play(
    name: str,
    *,
    seed: int | str = 0,
    provider: Provider = "dyte",
    organization: str = ORGANIZATION,
    start: datetime = START,
    participants: int | None = None,
) -> Sequence[Moment]:
    """Play one meeting: its events in their natural order. The same arguments give the same events.

    `participants` overrides how many people the scenario brings.

    Raises:
        ValueError: as `check` says.
    """
    check(name, provider=provider, participants=participants)
    dice = Random(f"{seed}")  # noqa: S311 - repeatable on purpose
    stage = Stage(dice, SHAPES[provider], _meeting(dice, organization, start), participants)
    return sorted(SCENARIOS[name].script(stage), key=lambda moment: moment.at)


def check(name: str, *, provider: str, participants: int | None) -> None:
    """Raise ValueError, with what there is, for an unknown scenario or provider, or if nobody takes part."""
    if name not in SCENARIOS:
        raise ValueError(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    if provider not in SHAPES:
        raise ValueError(f"there is no provider {provider!r}; there are {', '.join(SHAPES)}")
    if participants is not None and participants < 1:
        raise ValueError("a meeting needs a participant")


def _meeting(dice: Random, organization: str, start: datetime) -> Meeting:
    letters = "".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=12))
    return Meeting(
        id=str(UUID(int=dice.getrandbits(128), version=4)),
        session_id=str(UUID(int=dice.getrandbits(128), version=4)),
        title=dice.choice(TITLES),
        room_name=f"{letters[:6]}-{letters[6:]}" if dice.random() < 0.3 else None,
        started_at=start,
        organization_id=organization,
        organization_name="Example organization",
    )


def _play_meeting(stage: Stage) -> Iterator[Moment]:
    visits = _visits(stage, people=stage.dice.randint(3, 8), arriving=120, staying=(600, 2400), returning=0.3)
    last = _last(visits)
    began = stage.meeting.started_at
    yield from _attendance(stage, visits)
    yield from _recorded(stage, invoked=began + stage.between(10, 60), stopped=last, why="ALL_PEERS_LEFT")
    live, gone = began + stage.between(60, 120), last - stage.between(1, 60)
    yield from _streamed(stage, [(live, "LIVE"), (gone, stage.dice.choice(["IDLE", "OFFLINE"]))])
    end = _ended(stage, last)
    yield end
    yield from _documents(stage, end.at)


def _play_recording(stage: Stage) -> Iterator[Moment]:
    visits = _visits(stage, people=2, arriving=20, staying=(600, 900), returning=0)
    began, last = stage.meeting.started_at, _last(visits)
    yield from _attendance(stage, visits)
    stopped = began + stage.between(200, 300)
    yield from _recorded(stage, invoked=began + stage.between(5, 15), stopped=stopped, why="API_CALL", failing=0.2)
    yield from _recorded(stage, invoked=stopped + stage.between(5, 15), stopped=last, why="ALL_PEERS_LEFT")
    yield _ended(stage, last)


def _play_livestream(stage: Stage) -> Iterator[Moment]:
    visits = _visits(stage, people=2, arriving=20, staying=(600, 900), returning=0)
    began, last = stage.meeting.started_at, _last(visits)
    yield from _attendance(stage, visits)
    states = ["LIVE", "IDLE", "LIVE", "OFFLINE"]
    yield from _streamed(
        stage, [(began + timedelta(seconds=60 * i) + stage.between(0, 30), s) for i, s in enumerate(states, 1)]
    )
    yield _ended(stage, last)


def _play_burst(stage: Stage) -> Iterator[Moment]:
    visits = _visits(stage, people=200, arriving=2, staying=(300, 303), returning=0)
    yield from _attendance(stage, visits)
    yield _ended(stage, _last(visits))


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        scenario.name: scenario
        for scenario in (
            Scenario(
                name="meeting",
                description="A whole meeting: 3 to 8 people, some come back, recorded and streamed; chat, transcript "
                "and summary after the end. All nine events.",
                script=_play_meeting,
            ),
            Scenario(
                name="recording",
                description="Two people and two recordings; one in five of the first ones fails.",
                script=_play_recording,
            ),
            Scenario(
                name="livestream",
                description="Two people and a livestream that goes LIVE, IDLE, LIVE, OFFLINE: with Dyte's shape, "
                "two honest events have the same bytes.",
                script=_play_livestream,
            ),
            Scenario(
                name="burst",
                description="A big meeting: 200 people join within two seconds and leave within three.",
                script=_play_burst,
            ),
        )
    }
)
"""Every scenario, by name."""


def _visits(
    stage: Stage, *, people: int, arriving: float, staying: tuple[float, float], returning: float
) -> Sequence[Visit]:
    """Who connects from when to when: the first person at once, the others within `arriving` seconds."""
    visits = []
    names = stage.dice.sample(NAMES, len(NAMES))
    for number in range(stage.participants or people):
        joined = stage.meeting.started_at + stage.between(0, arriving if number else 0)
        left = joined + stage.between(*staying)
        person = (names[number % len(names)], f"user-{stage.dice.randint(1, 10**6)}")
        if stage.dice.random() < returning:  # the connection broke on the way
            broke = joined + stage.between(staying[0] * 0.2, staying[0] * 0.8)
            visits.append(_visit(stage, person, joined, broke))
            joined = broke + stage.between(2, 30)
        visits.append(_visit(stage, person, joined, left))
    return visits


def _visit(stage: Stage, person: tuple[str, str], joined: datetime, left: datetime) -> Visit:
    name, custom_id = person
    return Visit(peer_id=stage.uuid(), name=name, custom_id=custom_id, joined_at=joined, left_at=left)


def _last(visits: Iterable[Visit]) -> datetime:
    return max(visit.left_at for visit in visits)


def _attendance(stage: Stage, visits: Sequence[Visit]) -> Iterator[Moment]:
    yield stage.moment(stage.meeting.started_at, stage.shape.started(stage.meeting))
    for visit in visits:
        yield stage.moment(visit.joined_at, stage.shape.joined(stage.meeting, visit))
        yield stage.moment(visit.left_at, stage.shape.left(stage.meeting, visit))


def _recorded(stage: Stage, *, invoked: datetime, stopped: datetime, why: str, failing: float = 0) -> Iterator[Moment]:
    started = invoked + stage.between(1, 5)
    stem = stage.meeting.room_name or stage.meeting.id
    recording = Recording(
        id=stage.uuid(),
        invoked_at=invoked,
        started_at=started,
        stopped_at=stopped,
        file_name=f"{stem}_{int(invoked.timestamp() * 1000)}.mp4",
        size=stage.dice.randint(200_000, 2_000_000_000),
        stop_reason=f"{{'reason':'{why}','caller':{{'type':'{_CALLERS[why]}'}}}}",
    )
    states = [(invoked, "INVOKED"), (started, "RECORDING")]
    if stage.dice.random() < failing:
        states.append((stopped, "ERRORED"))
    else:
        states += [(stopped, "UPLOADING"), (stopped + stage.between(5, 90), "UPLOADED")]
    for at, status in states:
        yield stage.moment(at, stage.shape.recording(stage.meeting, recording, status))


def _streamed(stage: Stage, states: Iterable[tuple[datetime, str]]) -> Iterator[Moment]:
    stream = Stream(id=stage.uuid(), key=f"simulated-{stage.dice.getrandbits(64):016x}")
    for at, status in states:
        yield stage.moment(at, stage.shape.livestream(stage.meeting, stream, status))


def _documents(stage: Stage, ended: datetime) -> Iterator[Moment]:
    ready = ended
    documents: tuple[Document, ...] = ("chat", "transcript", "summary")
    for document in documents:
        ready += stage.between(2, 60)
        yield stage.moment(ready, stage.shape.document(stage.meeting, document, ended_at=ended, at=ready))


def _ended(stage: Stage, last: datetime) -> Moment:
    """A minute after the last one left, as the sender does."""
    ended = last + timedelta(minutes=1)
    reason = "HOST_ENDED_MEETING" if stage.dice.random() < 0.2 else "ALL_PARTICIPANTS_LEFT"
    return stage.moment(ended, stage.shape.ended(stage.meeting, at=ended, reason=reason))
