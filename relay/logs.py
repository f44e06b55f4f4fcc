"""How log lines look: one JSON object a line for machines, one readable line for a terminal."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
from time import sleep
from typing import Literal

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_STOP_SECONDS = 3.0
_QUEUE_LINES = 10_000
"""Lines that wait for a slow reader of our output; more are dropped, because an answer must not wait for a log."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII, so that nothing from outside can break a line or a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {"time": _time(record), "level": record.levelname.lower(), "moment": record.getMessage()} | _extra(
            record
        )
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=True)


class TextFormatter(logging.Formatter):
    """A line for people: time, level, moment, then `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        pairs = " ".join(f"{name}={_plain(value)}" for name, value in _extra(record).items() if value not in (None, ""))
        line = f"{_time(record)[11:23]} {record.levelname.lower():7} {_visible(record.getMessage()):20} {pairs}"
        traceback = self.formatException(record.exc_info).split("\n") if record.exc_info else []
        return "\n".join([line, *map(_visible, traceback)])


class _Unblocked(QueueHandler):
    """Never waits: with the queue full a line is dropped, and the next one that fits is told how many were."""

    def __init__(self, queue: Queue[logging.LogRecord], on_drop: Callable[[], None]) -> None:
        super().__init__(queue)
        self._on_drop = on_drop
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.dropped:
                self.queue.put_nowait(_dropped(self.dropped))
                self.dropped = 0
            self.queue.put_nowait(record)
        except Full:
            self.dropped += 1
            self._on_drop()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # same process: nothing needs to be pickled, and `extra` stays as it is


class _Of:
    """Marks each line with the worker that says it."""

    def __init__(self, worker: int) -> None:
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._worker
        return True


def start(
    style: Literal["json", "text"],
    level: str,
    *,
    on_drop: Callable[[], None] = lambda: None,
    worker: int | None = None,
) -> QueueListener:
    """Send the log to standard error through a thread of its own; `stop` it at the end. `on_drop` is called for each
    line that finds no place. With `worker` each line bears its number."""
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    queue: Queue[logging.LogRecord] = Queue(_QUEUE_LINES)
    listener = QueueListener(queue, output)
    root = logging.getLogger()
    handler = _Unblocked(queue, on_drop)
    if worker is not None:
        handler.addFilter(_Of(worker))
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("aiokafka", "aiohttp.server", "aiohttp.access", "slack_sdk", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL if name == "aiohttp.server" else logging.ERROR)
    listener.start()
    return listener


def stop(listener: QueueListener) -> bool:
    """Write what waits. False where nobody reads it for a few seconds: only a hard exit ends the process then."""
    thread = threading.Thread(target=_stop, args=(listener,), name="log-stop", daemon=True)
    thread.start()
    thread.join(_STOP_SECONDS)
    return not thread.is_alive()


def _stop(listener: QueueListener) -> None:
    while True:
        try:
            listener.stop()
        except Full:  # no place for the mark that says it is the end; the reader may make one
            sleep(0.1)
        else:
            return


def _dropped(count: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "relay", "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log.dropped", "lines": count}
    )


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _visible(text: str) -> str:
    """A text of a library, which may quote anything, on one line and without what a terminal obeys."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _plain(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=True)
    return text if any(mark in text for mark in (" ", "\\", "=")) else text.strip('"')
