"""How log lines look: one JSON object a line for machines, one readable line for a terminal."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from select import PIPE_BUF
from time import sleep
from typing import Literal, TextIO

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=True, separators=(",", ":"))
_AS_TEXT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
_STOP_SECONDS = 3.0
_GATHER = 0.01
"""Seconds in which lines gather for one write."""
_MOST_TOGETHER = 1000
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
        return _encoded(line)


class TextFormatter(logging.Formatter):
    """A line for people: time, level, moment, then `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        pairs = " ".join(f"{name}={_plain(value)}" for name, value in _extra(record).items() if value not in (None, ""))
        line = f"{_time(record)[11:23]} {record.levelname.lower():7} {_visible(record.getMessage()):20} {pairs}"
        traceback = self.formatException(record.exc_info).split("\n") if record.exc_info else []
        return "\n".join([line, *map(_visible, traceback)])


class Lines(logging.Handler):
    """Never waits: with too many lines waiting one is dropped, and the next one that fits is told how many were."""

    def __init__(self, most: int, on_drop: Callable[[], None], *, worker: int | None = None) -> None:
        """With `worker` each line bears its number."""
        super().__init__()
        self._worker = worker
        self.waiting: SimpleQueue[logging.LogRecord | None] = SimpleQueue()
        self._most = most
        self._on_drop = on_drop
        self._dropped = 0
        self._counting = threading.Lock()

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a line, without the lock of other handlers: a queue is safe as it is."""
        if self.waiting.qsize() >= self._most:
            with self._counting:
                self._dropped += 1
            self._on_drop()
            return False
        if self._dropped:
            with self._counting:  # what another thread drops meanwhile is told with the next one
                dropped, self._dropped = self._dropped, 0
            if dropped:
                self._put(_dropped(dropped))
        self._put(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """See `handle`."""
        self.handle(record)

    def _put(self, record: logging.LogRecord) -> None:
        if self._worker is not None:
            record.worker = self._worker
        self.waiting.put(record)

    def lost(self) -> None:
        """A line that was taken could not be written."""
        self._on_drop()


class Outlet:
    """The thread that writes: what has gathered goes out together, because a write for each line costs more than it."""

    def __init__(self, lines: Lines, formatter: logging.Formatter, stream: TextIO, *, most: int = sys.maxsize) -> None:
        """`most` is how much may go out at once."""
        self._most = most
        self._lines = lines
        self._formatter = formatter
        self._stream = stream
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and return when that is done."""
        self._lines.waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            gathered = [self._lines.waiting.get(), *self._more()]
            going = None not in gathered
            self._write([record for record in gathered if record is not None])
            if going:
                sleep(_GATHER)

    def _more(self) -> Iterator[logging.LogRecord | None]:
        with suppress(Empty):
            for _ in range(_MOST_TOGETHER):
                yield self._lines.waiting.get_nowait()

    def _write(self, records: Sequence[logging.LogRecord]) -> None:
        try:
            for block in _blocks([f"{self._line(record)}\n" for record in records], self._most):
                self._stream.write(block)
                self._stream.flush()
        except (OSError, ValueError):  # the reader has gone, or closed our output: there is nobody left to tell
            for _ in records:
                self._lines.lost()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self._formatter.format(record)
        except Exception as error:  # noqa: BLE001 - one odd value must not end the log
            failed = {"name": record.name, "levelno": logging.ERROR, "levelname": "ERROR", "msg": "log.unreadable"}
            return self._formatter.format(logging.makeLogRecord(failed | {"error": type(error).__name__}))


def start(
    style: Literal["json", "text"],
    level: str,
    *,
    on_drop: Callable[[], None] = lambda: None,
    worker: int | None = None,
    beside_others: bool = False,
) -> Outlet:
    """Send the log to standard error through a thread of its own; `stop` it at the end. `on_drop` is called for each
    line that finds no place. With `worker` each line bears its number; `beside_others` is for one of several processes
    that write to the same place."""
    lines = Lines(_QUEUE_LINES, on_drop, worker=worker)
    formatter = JsonFormatter() if style == "json" else TextFormatter()
    outlet = Outlet(lines, formatter, sys.stderr, most=PIPE_BUF if beside_others else sys.maxsize)
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(level.upper())
    for name in ("aiokafka", "aiohttp.server", "aiohttp.access", "slack_sdk", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL if name == "aiohttp.server" else logging.ERROR)
    outlet.start()
    return outlet


def stop(outlet: Outlet) -> bool:
    """Write what waits. False where nobody reads it for a few seconds: only a hard exit ends the process then."""
    thread = threading.Thread(target=outlet.stop, name="log-stop", daemon=True)
    thread.start()
    thread.join(_STOP_SECONDS)
    return not thread.is_alive()


def _blocks(lines: Sequence[str], most: int) -> Iterator[str]:
    """The lines, together as long as they are not too much: what is more may be mixed with what others write."""
    block, size = list[str](), 0
    for line in lines:
        if block and size + len(line) > most:
            yield "".join(block)
            block, size = [], 0
        block.append(line)
        size += len(line)
    yield "".join(block)


def _dropped(count: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "relay", "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log.dropped", "lines": count}
    )


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _encoded(line: dict[str, object]) -> str:
    """Nearly always there is nothing to escape, and the faster way is good."""
    with suppress(TypeError):  # a number too large for it, or half a character
        encoded = orjson.dumps(line, default=str, option=_AS_TEXT)
        if encoded.isascii():
            return encoded.decode("ascii")
    return _ENCODER.encode(line)


def _visible(text: str) -> str:
    """A text of a library, which may quote anything, on one line and without what a terminal obeys."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _plain(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=True)
    return text if any(mark in text for mark in (" ", "\\", "=")) else text.strip('"')
