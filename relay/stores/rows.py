"""Values to rows and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import orjson

from relay.model import Delivery, DeliveryState, Event, EventState, GateState, Wish
from relay.payload import Defect
from relay.records import AttemptRecord, DeliveryRecord, EventRecord, SinkRecord, Tally

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]

_MAX_TEXT = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EVENT_COLUMNS = (
    "e.id, e.source, e.type, e.received_at, e.webhook_id, e.uuid, e.meeting, e.session, e.organization, e.stream, "
    "e.defect, e.headers, e.body"
)
_EVENT_WIDTH = EVENT_COLUMNS.count(",") + 1

CLAIMED_COLUMNS = f"d.id, d.route, d.sink, d.attempt + 1, d.tries + 1, d.replay, d.replay_at, {EVENT_COLUMNS}"
"""Of a delivery and its event, as the claim leaves them."""
_CLAIMED_WIDTH = 7

DELIVERY_COLUMNS = (
    "d.id, e.id, e.type, e.meeting, d.route, d.sink, d.state, d.attempt, d.tries, d.replay, d.due_at, d.settled_at, "
    "d.receipt, d.reason, d.detail, d.config, d.replay_at, d.owner"
)


_BADNESS = (GateState.PAUSED, GateState.BROKEN, GateState.OPEN)
"""The worst first: what waits for a person comes before what may pass by itself."""


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970, exactly: a float of seconds would be off by one now and then."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The inverse of `to_micros`."""
    return _EPOCH + timedelta(microseconds=micros)


def moment_or_none(micros: int | None) -> datetime | None:
    """The moment of a column that may be NULL."""
    return None if micros is None else from_micros(micros)


def quoted_text(text: str) -> str:
    """A text that every store takes: it may quote a sink, and so hold anything."""
    return text[:_MAX_TEXT].encode("utf-8", "replace").decode("utf-8")


def headers_text(event: Event) -> str:
    """The kept headers, as the `headers` column holds them."""
    return orjson.dumps(dict(event.headers)).decode()


def event(row: Row) -> Event:
    """The event of a row of `EVENT_COLUMNS`."""
    return _made(
        Event,
        id=row[0],
        source=row[1],
        type=row[2],
        received_at=from_micros(row[3]),
        webhook_id=row[4],
        uuid=row[5],
        meeting=row[6],
        session=row[7],
        organization=row[8],
        stream=row[9],
        defect=_defect(row[10]),
        headers=orjson.loads(row[11]),
        body=row[12],
    )


def _made(kind: type[T], **fields: object) -> T:
    """What calling it would make. A frozen dataclass assigns its fields one by one and the long way round, for each of
    thousands of rows."""
    made = object.__new__(kind)
    vars(made).update(fields)
    return made


def _defect(word: str | None) -> Defect | None:
    """Of a word that a later version wrote the least is assumed; one row must not end the lane, and so the relay."""
    if word is None:
        return None
    return Defect(word) if word in set(Defect) else Defect.NOT_JSON


def event_record(row: Row) -> EventRecord:
    """The record of a row of `EVENT_COLUMNS`, state, detail."""
    return EventRecord(event=event(row), state=EventState(row[_EVENT_WIDTH]), detail=row[_EVENT_WIDTH + 1])


def claimed(row: Row) -> Delivery:
    """The delivery of a row of `CLAIMED_COLUMNS`."""
    id_, route, sink, attempt, tries, replay, replay_at = row[:_CLAIMED_WIDTH]
    of = event(row[_CLAIMED_WIDTH:])
    return _made(
        Delivery,
        id=id_,
        event=of,
        route=route,
        sink=sink,
        attempt=attempt,
        tries=tries,
        replay=replay,
        replay_at=moment_or_none(replay_at),
        body=of.body,
    )


def delivery_record(row: Row, attempts: list[AttemptRecord]) -> DeliveryRecord:
    """The record of a row of `DELIVERY_COLUMNS`."""
    return DeliveryRecord(
        id=row[0],
        event_id=row[1],
        type=row[2],
        meeting=row[3],
        route=row[4],
        sink=row[5],
        state=DeliveryState(row[6]),
        attempt=row[7],
        tries=row[8],
        replay=row[9],
        due_at=moment_or_none(row[10]),
        settled_at=moment_or_none(row[11]),
        receipt=row[12],
        reason=row[13],
        detail=row[14],
        config=row[15],
        replay_at=moment_or_none(row[16]),
        leased=row[17] is not None,
        attempts=attempts,
    )


def attempt_record(row: Row) -> AttemptRecord:
    """The record of a row of attempt, at, reason, detail."""
    return AttemptRecord(attempt=row[0], at=from_micros(row[1]), reason=row[2], detail=row[3])


def tally_record(row: Row) -> Tally:
    """Sink, route, state, how many, the oldest, the newest."""
    sink, route, state, count, oldest, newest = row
    return Tally(
        sink=sink,
        route=route,
        state=DeliveryState(state),
        count=count,
        oldest=from_micros(oldest),
        newest=from_micros(newest),
    )


def waiting(rows: Iterable[Row]) -> dict[str, SinkRecord]:
    """What waits, by sink: of rows of sink, pending, replays, oldest."""
    return {
        sink: SinkRecord(sink=sink, pending=pending, replays=replays, oldest=moment_or_none(oldest))
        for sink, pending, replays, oldest in rows
    }


def wishes(rows: Iterable[Row]) -> dict[str, Wish]:
    """What people want, by sink: of rows of sink, paused, at."""
    return {sink: Wish(paused=bool(paused), at=from_micros(at)) for sink, paused, at in rows}


def worst(last: Iterable[Row], living: Iterable[Row]) -> Sequence[Row]:
    """What is shown of each sink, in rows for `sink_records`: the worst that living nodes say, and where none says
    anything the last word of all. Rows of sink, state, reason, detail, since, and of those who live the node."""
    said: dict[str, list[Row]] = {}
    for row in living:
        said.setdefault(row[0], []).append(row)
    chosen = {row[0]: (*row[:5], (), 0) for row in last}
    for sink, words in said.items():
        one = min(words, key=lambda row: _BADNESS.index(row[1]))
        nodes = tuple(row[5] for row in words if row[1] == one[1])
        chosen[sink] = (*one[:5], nodes, len(words) - len(nodes))
    return list(chosen.values())


def sink_records(
    waiting: Mapping[str, SinkRecord], dead: Mapping[str, int], wishes: Mapping[str, Wish], reports: Iterable[Row]
) -> Sequence[SinkRecord]:
    """All that is known of any sink; the reports are rows of sink, state, reason, detail, since, the nodes that say so
    and how many say something better."""
    reported = {row[0]: row[1:] for row in reports}
    records = []
    for sink in sorted({*waiting, *dead, *wishes, *reported}):
        backlog = waiting.get(sink, SinkRecord(sink=sink))
        state, reason, detail, since, nodes, others = reported.get(sink, (None, "", "", None, (), 0))
        records.append(
            SinkRecord(
                sink=sink,
                pending=backlog.pending,
                oldest=backlog.oldest,
                replays=backlog.replays,
                dead=dead.get(sink, 0),
                state=None if state is None else GateState(state),
                reason=reason,
                detail=detail,
                since=moment_or_none(since),
                wish=wishes.get(sink),
                nodes=nodes,
                others=others,
            )
        )
    return records
