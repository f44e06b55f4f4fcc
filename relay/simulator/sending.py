"""What a sender makes of its meetings: signed requests, some sent twice, some late, many meetings at a time."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from random import Random
from uuid import UUID

from relay.model import value
from relay.payload import Payload
from relay.simulator.key import SimulatorKey
from relay.simulator.scenarios import ORGANIZATION, START, Moment, check, play
from relay.simulator.shapes import Provider

WEBHOOK_ID = "6b1f0c5e-2d34-4c8a-9f10-7e5a3b2c1d00"
"""The registration that simulated webhooks are sent for."""

GAP = timedelta(seconds=90)
"""Between the starts of two meetings. Far shorter than most meetings, so many run at the same time."""

_HEADERS: Mapping[Provider, Mapping[str, str]] = {
    "dyte": {
        "accept": "application/json, text/plain, */*",
        "content-type": "application/json",
        "user-agent": "axios/0.21.4",
    },
    "realtimekit": {"content-type": "application/json"},
}
_FAMILY: Mapping[Provider, str] = {"dyte": "dyte", "realtimekit": "rtk"}


@value
class SimulatedWebhook:
    """One request to be posted: the body is signed as it is, byte for byte."""

    event: str
    """Name of the event."""
    meeting: str
    """Id of the meeting; some of Dyte's events do not name it themselves."""
    body: bytes
    headers: Mapping[str, str]
    """All that a sender adds itself, names in lower case; not what an HTTP client adds (host, content-length)."""
    at: datetime
    """When it arrives, in simulated time; never earlier than the one before."""
    repeat: bool = False
    """Sent again: a retry whose first try may well have arrived."""
    late: bool = False
    """Held back, so that at least one later event of its meeting arrives before it."""


@value
class _Sending:
    """One moment on its way."""

    at: datetime
    moment: Moment
    uuid: str
    repeat: bool
    late: bool


@value
class _Weather:
    """How badly the way treats a sending."""

    duplicates: float
    disorder: float
    fresh_uuid: bool

    def __post_init__(self) -> None:
        for name, share in (("duplicates", self.duplicates), ("disorder", self.disorder)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a share between 0 and 1, not {share}")


def simulate(
    key: SimulatorKey,
    *,
    meetings: int = 1,
    provider: Provider = "dyte",
    scenario: str = "meeting",
    seed: int | str = 0,
    duplicates: float = 0.0,
    disorder: float = 0.0,
    fresh_uuid: bool = False,
    participants: int | None = None,
    organization: str = ORGANIZATION,
    webhook_id: str = WEBHOOK_ID,
    start: datetime = START,
    gap: timedelta = GAP,
) -> Iterator[SimulatedWebhook]:
    """Whole meetings as signed webhooks, in order of arrival, made one at a time while they are taken.

    The same arguments give the same webhooks, and a meeting's bodies depend on `seed`, its number, `scenario`,
    `provider`, `participants`, `organization` and its start only. Memory holds the meetings that run at the same time.

    `duplicates` and `disorder` are the shares of webhooks that are sent twice and that come late. A repeat keeps its
    uuid, or has a new one with `fresh_uuid` (what RealtimeKit does is not documented). `gap` parts the starts of two
    meetings; with 0 all of them start at once.

    Raises:
        ValueError: at once, for an unknown scenario or provider, a share outside 0 to 1, or a negative number.
    """
    check(scenario, provider=provider, participants=participants)
    weather = _Weather(duplicates=duplicates, disorder=disorder, fresh_uuid=fresh_uuid)
    if meetings < 0 or gap < timedelta(0):
        raise ValueError("meetings and gap cannot be negative")

    def send(number: int) -> tuple[datetime, Sequence[_Sending]]:
        begin, name = start + gap * number, f"{seed}/{number}"
        moments = play(
            scenario, seed=name, provider=provider, organization=organization, start=begin, participants=participants
        )
        return begin, _sendings(moments, weather, Random(f"{name}/sending"))  # noqa: S311 - repeatable on purpose

    envelope = _Envelope(key, provider, webhook_id)
    return map(envelope.seal, _interleave(send(number) for number in range(meetings)))


def _sendings(moments: Sequence[Moment], weather: _Weather, dice: Random) -> Sequence[_Sending]:
    """When each moment of one meeting arrives, once or twice."""
    sendings: list[_Sending] = []
    arrivals: list[datetime] = []
    for moment in reversed(moments):  # so that a late one knows when those after it arrive
        after = arrivals[-4:]
        late = bool(after) and dice.random() < weather.disorder
        at = dice.choice(after) + timedelta(milliseconds=1) if late else moment.at
        arrivals.append(at)
        uuid = _uuid(dice)
        if dice.random() < weather.duplicates:
            again = _uuid(dice) if weather.fresh_uuid else uuid
            retried = at + timedelta(milliseconds=dice.randint(1000, 15000))
            sendings.append(_Sending(at=retried, moment=moment, uuid=again, repeat=True, late=late))
        sendings.append(_Sending(at=at, moment=moment, uuid=uuid, repeat=False, late=late))
    sendings.reverse()
    return sendings


def _uuid(dice: Random) -> str:
    return str(UUID(int=dice.getrandbits(128), version=4))


def _interleave(meetings: Iterable[tuple[datetime, Sequence[_Sending]]]) -> Iterator[_Sending]:
    """All sendings by time of arrival, of meetings that come by time of begin. Holds those that still run."""
    waiting: list[tuple[datetime, int, _Sending]] = []
    numbers = count()  # on a tie, first made is first out
    for begin, sendings in meetings:
        while waiting and waiting[0][0] < begin:
            yield heapq.heappop(waiting)[2]
        for sending in sendings:
            heapq.heappush(waiting, (sending.at, next(numbers), sending))
    while waiting:
        yield heapq.heappop(waiting)[2]


class _Envelope:
    """Writes and signs the requests of one registration."""

    def __init__(self, key: SimulatorKey, provider: Provider, webhook_id: str) -> None:
        self._key = key
        self._family = _FAMILY[provider]
        self._headers = {**_HEADERS[provider], f"{self._family}-webhook-id": webhook_id}

    def seal(self, sending: _Sending) -> SimulatedWebhook:
        """The request for one sending."""
        body = write(sending.moment.payload)
        signed = {f"{self._family}-uuid": sending.uuid, f"{self._family}-signature": self._key.sign(body)}
        return SimulatedWebhook(
            event=sending.moment.event,
            meeting=sending.moment.meeting,
            body=body,
            headers=self._headers | signed,
            at=sending.at,
            repeat=sending.repeat,
            late=sending.late,
        )


def write(payload: Payload) -> bytes:
    """The bytes that Node's `JSON.stringify` makes of it: no spaces, and characters as they are."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
