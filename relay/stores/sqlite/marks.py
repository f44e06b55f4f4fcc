"""What was seen, against duplicates: marks in the order in which they came, and keys by which they are found.

A key is a number of 64 bits that stands for what a sender chooses, so that many fit into a page; what it finds is
compared with the true columns. Keys come in no order: each would change a page of its own, all of which a checkpoint
writes out while answers wait for the same disk. So new ones gather in a small table, and from time to time neighbours
go from there into the large one together (`file`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import apsw

from relay.stores.rows import Row

Identity: TypeAlias = tuple[str, str, str, bytes]
"""Source, webhook id, uuid and hash of the body."""
Key: TypeAlias = tuple[int, int]
"""What to look for, and the least that may stand beside it."""

KEYS = ("mark_fresh", "mark_filed")
LEAST = -(1 << 63)
FRESH = 16_384
"""Keys that stay in the small table, of which each mark has two: with fewer, each page of the large one is written more
often; with more, there are more pages of the small one."""
PIECE = 512
"""Keys that are filed in one go: some milliseconds for those who wait to write."""
_PIECES = 64
"""At once at most; a store into which another one was copied, or a burst, takes some turns."""
_BODIES = (1 << 32) - 1

_FOUND = """
SELECT {columns} FROM {keys} k CROSS JOIN mark m ON m.id = k.mark
 WHERE k.key = ? AND k.detail BETWEEN ? AND ? AND {true} ORDER BY k.detail LIMIT 1"""
_SENDER = "m.source = ? AND m.webhook_id = ? AND m.uuid = ?"
_SAME, _OTHER_BODY, _SAME_BODY = (
    tuple(_FOUND.format(columns=columns, keys=keys, true=true) for keys in KEYS)
    for columns, true in (
        ("m.event_id", f"{_SENDER} AND m.body_hash = ?"),
        ("1", f"{_SENDER} AND m.body_hash <> ?"),
        ("m.seen_at, m.event_id", "m.source = ? AND m.webhook_id = ? AND m.body_hash = ?"),
    )
)
_OF_UUID = tuple(
    f"SELECT m.event_id FROM {keys} k CROSS JOIN mark m ON m.id = k.mark WHERE k.key = ? AND m.uuid = ?"  # noqa: S608
    for keys in KEYS
)
_NEXT = "SELECT key, detail, mark FROM mark_fresh WHERE key >= ?1 ORDER BY key, detail, mark LIMIT ?2"
_FILE = f"INSERT INTO mark_filed (key, detail, mark) {_NEXT}"
_TAKE_OUT = f"DELETE FROM mark_fresh WHERE (key, detail, mark) IN ({_NEXT})"  # noqa: S608 - constants of ours
_FROM = "SELECT min(key) FROM mark_fresh WHERE key >= ?"
_WAITING = "SELECT count(*) FROM (SELECT 1 FROM mark_fresh LIMIT ?)"


def uuid_key(uuid: str) -> int:
    """The key of a sender's id, beside which that of the body stands. The id is not signed: nobody can choose
    thousands of them with one key, as with a weaker hash."""
    return int.from_bytes(hashlib.blake2b(uuid.encode(), digest_size=8).digest(), "big", signed=True)


def body_key(source: str, webhook_id: str, body_hash: bytes) -> int:
    """The key of a body, beside which stands when it was seen. The first half is the registration's, so that all that
    one registration says under a uuid stands together."""
    return int.from_bytes(_registration(source, webhook_id) + body_hash[:4], "big", signed=True)


@lru_cache(maxsize=256)
def _registration(source: str, webhook_id: str) -> bytes:
    return hashlib.blake2b(f"{source}\0{webhook_id}".encode(), digest_size=4).digest()


def register(connection: apsw.Connection) -> None:
    """Let the migration that makes the keys compute them."""

    def of_uuid(*given: Any) -> int:
        return uuid_key(*given)

    def of_body(*given: Any) -> int:
        return body_key(*given)

    connection.create_scalar_function("mark_uuid_key", of_uuid, 1, deterministic=True)
    connection.create_scalar_function("mark_body_key", of_body, 3, deterministic=True)


def keys_of(identity: Identity) -> tuple[int, int]:
    """Those of the uuid and of the body."""
    source, webhook_id, uuid, body_hash = identity
    return uuid_key(uuid), body_key(source, webhook_id, body_hash)


def same(connection: apsw.Connection, identity: Identity) -> str | None:
    """The event that bears this mark."""
    by_uuid, by_body = keys_of(identity)
    return next((row[0] for row in _found(connection, _SAME, (by_uuid, by_body, by_body, *identity))), None)


def other_body(connection: apsw.Connection, identity: Identity) -> bool:
    """Whether the sender has used the uuid for another body."""
    by_uuid, by_body = keys_of(identity)
    first = by_body & ~_BODIES
    return any(_found(connection, _OTHER_BODY, (by_uuid, first, first | _BODIES, *identity)))


def same_body(connection: apsw.Connection, identity: Identity, *, since: int) -> Row | None:
    """When the sender has first sent this body since then, and as which event."""
    source, webhook_id, _, body_hash = identity
    given = (body_key(source, webhook_id, body_hash), since, -LEAST - 1, source, webhook_id, body_hash)
    return min(_found(connection, _SAME_BODY, given), default=None)


def events_of(connection: apsw.Connection, uuid: str) -> set[str]:
    """The events that anybody has sent under this uuid, or repeated."""
    return {row[0] for sql in _OF_UUID for row in connection.execute(sql, (uuid_key(uuid), uuid))}


def excess(connection: apsw.Connection) -> int:
    """How many pieces are to be filed now."""
    waiting: int = connection.execute(_WAITING, (FRESH + _PIECES * PIECE,)).get
    return max(0, waiting - FRESH) // PIECE


def file_all(connection: apsw.Connection) -> None:
    """File whatever there is, while nobody waits."""
    connection.execute("INSERT INTO mark_filed (key, detail, mark) SELECT key, detail, mark FROM mark_fresh")
    connection.execute("DELETE FROM mark_fresh")


def file(connection: apsw.Connection, start: int, *, limit: int) -> int:
    """File the next keys, neighbours of each other; where to go on from."""
    connection.execute(_FILE, (start, limit))
    connection.execute(_TAKE_OUT, (start, limit))
    following: int | None = connection.execute(_FROM, (start,)).get
    return LEAST if following is None else following


def _found(connection: apsw.Connection, statements: tuple[str, ...], given: Row) -> Iterator[Row]:
    for sql in statements:
        yield from connection.execute(sql, given)
