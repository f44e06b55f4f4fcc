"""Webhooks that were signed beforehand, because signing one costs more than answering it.

What a sender's meetings bring about, in its mix of event types and sizes: hundreds of meetings at a time, no two
bodies alike. The pool is made once, and kept beside the other things that a build leaves; its private key is not.

A record is a request from the middle of its `dyte-uuid` on. Whoever sends it writes before it where to, and eight
hexadecimal digits: a number that is never used twice. So requests differ in uuid for as long as anybody likes, and
bodies repeat only when the pool has been gone through.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from relay.simulator import SimulatorKey, simulate
from relay.simulator.sending import SimulatedWebhook

SIZE = 20_480
_EVENTS_OF_A_MEETING = 10
"""At least."""
_GAP = timedelta(seconds=2)
"""Between the starts of two meetings: with meetings of half an hour, some hundreds run at the same time."""


@dataclass(frozen=True)
class Pool:
    """The records, in a file that Lua and Python read, and the key that verifies them."""

    path: Path
    public_key: str
    size: int
    median_body: int
    """Bytes."""

    def records(self) -> Sequence[bytes]:
        """All of them, in order."""
        return list(read(self.path))


def pool(folder: Path, *, size: int = SIZE) -> Pool:
    """The pool of this size in this folder, made if it is not there."""
    path = folder / f"pool-{size}.bin"
    key = path.with_suffix(".pem")
    if not (path.exists() and key.exists()):
        _make(path, key, size)
    bodies = [len(record.partition(b"\r\n\r\n")[2]) for record in read(path)]
    return Pool(path=path, public_key=key.read_text(), size=size, median_body=round(statistics.median(bodies)))


def read(path: Path) -> Iterator[bytes]:
    """The records of a file: each is its length in decimal digits, a line feed, and its bytes."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        end = content.index(b"\n", at)
        start, length = end + 1, int(content[at:end])
        yield content[start : start + length]
        at = start + length


def parts(whole: Pool, count: int, folder: Path) -> Sequence[Pool]:
    """The pool in so many parts, for servers that share a store and must not get the same body at the same time."""
    if count == 1:
        return [whole]
    records, made = whole.records(), []
    for number in range(count):
        own, path = records[number::count], folder / f"pool-{number + 1}-of-{count}.bin"
        path.write_bytes(b"".join(b"%d\n" % len(record) + record for record in own))
        made.append(replace(whole, path=path, size=len(own)))
    return made


def _make(path: Path, key: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    signer = SimulatorKey.create()
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        for number, webhook in enumerate(_distinct(signer, size)):
            record = _record(webhook, number)
            file.write(b"%d\n" % len(record) + record)
    key.write_text(signer.public_pem)
    fresh.rename(path)


def _distinct(signer: SimulatorKey, size: int) -> Iterator[SimulatedWebhook]:
    """So many webhooks, no two with the same body: a livestream that goes live twice says so in the same words."""
    seen: set[bytes] = set()
    for webhook in simulate(signer, meetings=size // _EVENTS_OF_A_MEETING + 1, gap=_GAP):
        if len(seen) == size:
            return
        if webhook.body not in seen:
            seen.add(webhook.body)
            yield webhook
    if len(seen) < size:
        raise AssertionError(f"{size} webhooks were wanted, and the meetings made {len(seen)}")


def _record(webhook: SimulatedWebhook, number: int) -> bytes:
    headers = {name: text for name, text in webhook.headers.items() if name != "dyte-uuid"}
    lines = [f"-0000-4000-8000-{number:012x}", *(f"{name}: {text}" for name, text in headers.items())]
    lines.append(f"content-length: {len(webhook.body)}")
    return "\r\n".join([*lines, "", ""]).encode() + webhook.body
