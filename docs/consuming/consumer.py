"""Consume what the relay writes to Kafka: each event once, in order, and nothing that cannot be read stops it.

KAFKA_BROKER=localhost:9092 python consumer.py
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer

from relay.events import MeetingEnded, RecordingStatusUpdate, parse_event

log = logging.getLogger("consumer")


def open_book(path: str = "consumer.db") -> sqlite3.Connection:
    """Where the effects are, and beside them the ids of what was handled."""
    book = sqlite3.connect(path)
    book.execute("CREATE TABLE IF NOT EXISTS handled (id TEXT PRIMARY KEY)")
    book.execute("CREATE TABLE IF NOT EXISTS unread (id TEXT PRIMARY KEY, body BLOB, why TEXT)")
    book.execute("CREATE TABLE IF NOT EXISTS recording (id TEXT PRIMARY KEY, meeting TEXT, bytes INTEGER)")
    return book


def handle(book: sqlite3.Connection, event_id: str, body: bytes) -> bool:
    """Whether the event was new. Its effect and its id are one transaction, so a crash leaves both or neither."""
    with book:
        if book.execute("INSERT OR IGNORE INTO handled VALUES (?)", (event_id,)).rowcount == 0:
            return False
        try:
            event = parse_event(body)
        except ValueError as error:  # poison: put it aside, and go on
            book.execute("INSERT INTO unread VALUES (?, ?, ?)", (event_id, body, str(error)))
            return True
        match event:
            case RecordingStatusUpdate(recording=recording) if recording and recording.status == "UPLOADED":
                known = (event.recording_id, event.meeting_id, recording.file_size)
                book.execute("INSERT OR REPLACE INTO recording VALUES (?, ?, ?)", known)
            case MeetingEnded():
                log.info("meeting %s ended: %s", event.meeting_id, event.reason)
            case _:
                pass  # also types that are new: nothing that is unknown is an error
    return True


async def main() -> None:
    """For ever."""
    consumer = AIOKafkaConsumer(
        "dyte.events",
        bootstrap_servers=os.environ["KAFKA_BROKER"],
        group_id="recordings",
        enable_auto_commit=False,  # an offset is committed when its event is handled, not when it was read
        auto_offset_reset="earliest",
    )
    book = open_book()
    await consumer.start()
    try:
        async for record in consumer:  # in order within a partition, and so within a meeting
            headers: Mapping[str, bytes] = dict(record.headers)
            new = handle(book, headers["ce_id"].decode(), record.value)
            log.info("%s %s", headers["ce_type"].decode(), "handled" if new else "known already")
            await consumer.commit()
    finally:
        await consumer.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main())
