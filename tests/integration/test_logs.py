"""Log lines: whole for machines, harmless for terminals, complete at the end, and never in the way."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

import pytest

from relay import logs
from relay.app import running
from relay.config import load
from relay.telemetry import Telemetry
from tests.acceptance.process import environment
from tests.running import payload, samples, sender, write_config

HOSTILE = "a\x1b[31mb\r\nc\u202ed \x9b2J\x00"
log = logging.getLogger("relay")


@pytest.fixture(autouse=True)
def _same_loggers_afterwards() -> Iterator[None]:
    names = ("aiokafka", "aiohttp.server", "aiohttp.access", "slack_sdk", "asyncio")
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name in names:
        logging.getLogger(name).setLevel(levels[name])


def test_json_lines_survive_anything(capsys: pytest.CaptureFixture[str]) -> None:
    listener = logs.start("json", "info")
    log.info("event.accepted", extra={"meeting": HOSTILE, "number": 7, "at": datetime(2026, 1, 2, tzinfo=UTC)})
    listener.stop()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isascii()
    assert line.isprintable()
    read = json.loads(line)
    assert (read["level"], read["moment"], read["meeting"], read["number"]) == ("info", "event.accepted", HOSTILE, 7)
    assert read["at"] == "2026-01-02 00:00:00+00:00"
    assert datetime.fromisoformat(read["time"]).tzinfo is not None


def test_each_line_of_a_worker_bears_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    listener = logs.start("json", "info", worker=3)
    log.info("event.accepted", extra={"meeting": "m-1"})
    listener.stop()
    (line,) = capsys.readouterr().err.splitlines()
    assert (json.loads(line)["worker"], json.loads(line)["meeting"]) == (3, "m-1")


def test_the_lines_of_several_processes_stay_whole() -> None:
    """A pipe mixes what is written at once only where that is more than a block of it."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # full at once, so that each waits for room all the time
    program = (
        "import logging, sys; from relay import logs\n"
        "listener = logs.start('json', 'info', worker=int(sys.argv[1]), beside_others=True)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(500): logging.getLogger('relay').info('x', extra={'pad': 'y' * 700})\n"
        "listener.stop()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=writing,
            env=environment(),
        )
        for number in range(2)
    ]
    os.close(writing)
    for process in processes:  # both at the same time, into a pipe that is soon full
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    with os.fdopen(reading, "rb") as stream:
        workers = Counter(json.loads(line)["worker"] for line in stream)
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert workers == {0: 500, 1: 500}


def test_text_lines_cannot_touch_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    listener = logs.start("text", "info")
    log.info("event.accepted", extra={"meeting": HOSTILE, "sinks": ["crm"], "uuid": None, "detail": ""})
    listener.stop()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert " info    event.accepted " in line
    assert 'sinks=["crm"]' in line
    assert "uuid" not in line


def test_a_message_of_a_library_cannot_touch_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    listener = logs.start("text", "info")
    logging.getLogger("aiokafka").error("broker said %s", HOSTILE)
    listener.stop()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "broker said a" in line


def test_values_with_spaces_are_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    listener = logs.start("text", "info")
    log.info("x", extra={"plain": "word", "spaced": "two words", "pair": "a=b", "count": 3})
    listener.stop()
    assert capsys.readouterr().err.rstrip().endswith('plain=word spaced="two words" pair="a=b" count=3')


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_is_kept(capsys: pytest.CaptureFixture[str], style: str) -> None:
    listener = logs.start("json" if style == "json" else "text", "info")
    try:
        int("odd")
    except ValueError:
        log.exception("request.crashed")
    listener.stop()
    text = capsys.readouterr().err
    assert "ValueError: invalid literal" in text
    if style == "json":
        assert "Traceback" in json.loads(text)["traceback"]


def test_levels_are_kept_and_chatter_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    listener = logs.start("json", "warning")
    log.info("event.accepted")
    logging.getLogger("aiokafka").warning("chatter")
    log.warning("request.refused")
    listener.stop()
    assert [json.loads(line)["moment"] for line in capsys.readouterr().err.splitlines()] == ["request.refused"]


def test_nothing_is_lost_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    listener = logs.start("json", "info")
    for number in range(500):
        log.info("event.accepted", extra={"number": number})
    listener.stop()
    numbers = [json.loads(line)["number"] for line in capsys.readouterr().err.splitlines()]
    assert numbers == list(range(500))


def test_a_reader_that_hangs_costs_lines_and_they_are_counted() -> None:
    lost: list[None] = []
    lines = logs.Lines(2, lambda: lost.append(None))
    for number in range(5):
        lines.handle(logging.makeLogRecord({"msg": f"line {number}"}))
    assert [text(lines) for _ in range(2)] == ["line 0", "line 1"]
    assert len(lost) == 3
    lines.handle(logging.makeLogRecord({"msg": "line 5"}))
    told = lines.waiting.get_nowait()
    assert told is not None
    assert (told.getMessage(), vars(told)["lines"], text(lines)) == ("log.dropped", 3, "line 5")


def test_what_another_thread_drops_while_the_loss_is_told_is_told_next() -> None:
    class Crowded(SimpleQueue[logging.LogRecord | None]):
        """In the middle of one thread's turn another one finds it full."""

        full = True

        def qsize(self) -> int:
            return 2 if self.full else 0

        def put(self, item: logging.LogRecord | None, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
            if item is not None and item.getMessage() == "log.dropped" and not self.qsize():
                self.full = True
                lines.handle(logging.makeLogRecord({"msg": "from another thread"}))
                self.full = False
            super().put(item, block, timeout)

    lines = logs.Lines(2, lambda: None)
    lines.waiting = crowded = Crowded()
    lines.handle(logging.makeLogRecord({"msg": "too many"}))
    crowded.full = False
    for _ in range(2):
        lines.handle(logging.makeLogRecord({"msg": "fits"}))
    taken = [crowded.get_nowait() for _ in range(4)]
    assert [vars(each).get("lines") for each in taken if each is not None] == [1, None, 1, None]


def text(lines: logs.Lines) -> str:
    record = lines.waiting.get_nowait()
    assert record is not None
    return record.getMessage()


def test_the_end_does_not_wait_for_a_reader_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_STOP_SECONDS", 0.05)
    read = threading.Event()

    class Hanging(io.StringIO):
        def write(self, written: str) -> int:
            read.wait(10)
            return len(written)

    lines = logs.Lines(10, lambda: None)
    outlet = logs.Outlet(lines, logs.TextFormatter(), Hanging())
    outlet.start()
    lines.handle(logging.makeLogRecord({"msg": "line"}))
    assert logs.stop(outlet) is False
    read.set()


def test_a_reader_that_has_gone_ends_no_thread_and_is_counted() -> None:
    class Gone(io.StringIO):
        def write(self, written: str) -> int:
            raise BrokenPipeError

    lost: list[None] = []
    lines = logs.Lines(10, lambda: lost.append(None))
    outlet = logs.Outlet(lines, logs.JsonFormatter(), Gone())
    outlet.start()
    for number in range(3):
        lines.handle(logging.makeLogRecord({"msg": f"line {number}"}))
    assert logs.stop(outlet)
    assert len(lost) == 3


def test_a_value_that_cannot_be_written_costs_its_line_only(capsys: pytest.CaptureFixture[str]) -> None:
    class Odd:
        def __str__(self) -> str:
            raise ZeroDivisionError

    outlet = logs.start("json", "info")
    log.info("event.accepted", extra={"value": Odd()})
    log.info("event.accepted", extra={"value": 1})
    outlet.stop()
    odd, good = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (odd["moment"], odd["error"]) == ("log.unreadable", "ZeroDivisionError")
    assert good["value"] == 1


async def test_a_log_that_nobody_reads_delays_no_answer_and_what_it_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_QUEUE_LINES", 10)
    reading, writing = os.pipe()
    telemetry = Telemetry()
    with os.fdopen(writing, "w", buffering=1) as unread:
        monkeypatch.setattr("sys.stderr", unread)
        listener = logs.start("json", "info", on_drop=telemetry.log_dropped)
        try:
            async with running(load(write_config(tmp_path), {}), telemetry=telemetry) as app, sender("") as posting:
                posting.base = f"http://{app.gateway_address}"
                answers = [await posting.post(payload(count=number)) for number in range(300)]
            assert {answer.status for answer in answers} == {200}
            assert samples(telemetry.exposition())["relay_log_dropped_total"] > 100
        finally:  # whatever waits for the pipe would wait for ever
            reader = threading.Thread(target=_read_to_the_end, args=(reading,))
            reader.start()
            stopped = await asyncio.to_thread(logs.stop, listener)
    reader.join()
    assert stopped


def _read_to_the_end(pipe: int) -> None:
    with os.fdopen(pipe, "rb") as stream:
        while stream.read(65536):
            pass
