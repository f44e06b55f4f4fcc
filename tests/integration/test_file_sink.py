"""The file sink: what its lines say, and that they survive torn writes, rotation, full disks and idle readers."""

from __future__ import annotations

import asyncio
import base64
import errno
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import Unavailable
from relay.model import Delivery, Reason
from relay.payload import decode
from relay.sinks.file import FileOptions, FileSink, line
from tests.fakes.delivery import delivery

STARTED = {"event": "meeting.started", "meeting": {"id": "m-1"}}
Make = Callable[..., FileSink]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[FileSink] = []

    def build(path: Path | str) -> FileSink:
        made.append(FileSink("audit", FileOptions(type="file", path=str(path))))
        return made[-1]

    yield build
    for sink in made:
        await sink.close()


def lines(path: Path) -> list[Any]:
    return [orjson.loads(text) for text in path.read_bytes().removesuffix(b"\n").split(b"\n")]


def numbered(number: int) -> Delivery:
    made = delivery({"event": "meeting.started", "n": number})
    return replace(made, event=replace(made.event, id=f"event-{number}"))


async def test_a_system_without_fdatasync_syncs_all_the_same(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.delattr(os, "fdatasync")
    monkeypatch.setattr(os, "fsync", synced.append)
    await make(tmp_path / "events.jsonl").deliver(numbered(1))
    assert len(synced) == len(lines(tmp_path / "events.jsonl")) == 1


# The line


def test_a_line_has_the_attributes_and_the_data() -> None:
    made = delivery(STARTED)
    made = replace(made, event=replace(made.event, meeting="m-1"))
    assert orjson.loads(line(made)) == {
        "id": "01931b2e-7f00-7000-8000-000000000001",
        "source": "dyte",
        "type": "meeting.started",
        "time": "2026-11-23T11:30:00.000Z",
        "specversion": "1.0",
        "subject": "m-1",
        "route": "r",
        "sink": "oncall",
        "data": STARTED,
    }
    assert orjson.loads(line(replace(made, replay=3)))["replay"] == 3


@pytest.mark.parametrize(
    "body",
    [
        b'{"event":"x","n":123456789012345678901234567890,"f":1.0000000000000000001}',
        b'{"event":"x","a":1,"a":2}',
        b'{"event":"x","s":"\\u00e9\\n\\ud83d"}',
        '{"event":"x","s":"line\u2028separator\u0085"}'.encode(),
        b'  {"event" : "x"}\t',
    ],
    ids=["big numbers", "duplicate keys", "escapes", "line separators", "white space"],
)
def test_data_is_the_signed_bytes(body: bytes) -> None:
    text = line(delivery(None, body=body))
    assert text.count(b"\n") == 1
    assert text.endswith(b',"data":' + body + b"}\n")


def test_line_breaks_between_tokens_become_spaces() -> None:
    body = b'{\r\n  "event": "x",\n  "deep": {"a": [1,\n2]}\n}\n'
    text = line(delivery(None, body=body))
    assert text.endswith(body.replace(b"\r", b" ").replace(b"\n", b" ") + b"}\n")
    assert orjson.loads(text)["data"] == orjson.loads(body)


@pytest.mark.parametrize("body", [b"", b"no JSON\n", b"\xff\x00", b"NaN"])
def test_a_body_without_payload_is_base64(body: bytes) -> None:
    found = orjson.loads(line(delivery(None, body=body)))
    assert base64.b64decode(found["data_base64"]) == body
    assert "data" not in found


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.just(b"{}").map(lambda body: body + b"\n"))
def test_every_body_makes_one_line_of_json(body: bytes) -> None:
    text = line(delivery(None, body=body))
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    assert decode(text).defect is None


# The file


async def test_lines_are_appended_to_a_private_file(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "events.jsonl"
    sink = make(path)
    assert await sink.deliver(numbered(1)) == str(path)
    await sink.deliver(numbered(2))
    assert [found["data"]["n"] for found in lines(path)] == [1, 2]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_many_at_once_lose_nothing(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = make(path)
    await asyncio.gather(*(sink.deliver(numbered(number)) for number in range(500)))
    assert [found["data"]["n"] for found in lines(path)] == list(range(500))


async def test_nobody_hears_of_success_before_the_sync(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sync(_file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", no_sync)
    with pytest.raises(Unavailable, match="Input/output error"):
        await make(tmp_path / "events.jsonl").deliver(numbered(1))


async def test_a_torn_last_line_does_not_spoil_the_next(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"whole": 1}\n{"torn": ')
    await make(path).deliver(numbered(1))
    first, torn, whole = path.read_bytes().splitlines()
    assert (first, torn) == (b'{"whole": 1}', b'{"torn": ')
    assert orjson.loads(whole)["data"]["n"] == 1


async def test_a_file_that_was_rotated_away_is_not_written_to(make: Make, tmp_path: Path) -> None:
    path, moved = tmp_path / "events.jsonl", tmp_path / "events.jsonl.1"
    sink = make(path)
    await sink.deliver(numbered(1))
    path.rename(moved)
    await sink.deliver(numbered(2))
    assert [[found["data"]["n"] for found in lines(file)] for file in (moved, path)] == [[1], [2]]


async def test_a_path_that_cannot_be_written_says_so_and_heals(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.mkdir()
    sink = make(path)
    with pytest.raises(Unavailable) as caught:
        await sink.deliver(numbered(1))
    assert caught.value.failure.reason is Reason.IO
    assert caught.value.failure.detail == f"cannot write {path}: Is a directory"
    path.rmdir()
    assert await sink.deliver(numbered(1)) == str(path)


async def test_a_file_in_the_way_of_the_folder(make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"cannot write .*file/events.jsonl: "):
        await make(tmp_path / "file" / "events.jsonl").deliver(numbered(1))


async def test_an_error_of_another_kind_hangs_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sink = make(tmp_path / "events.jsonl")

    def broken(_lines: bytes) -> None:
        raise ValueError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(sink, "_append", broken)
        with pytest.raises(Unavailable, match="a bug"):
            await asyncio.wait_for(sink.deliver(numbered(1)), 30)
    await asyncio.wait_for(sink.deliver(numbered(2)), 30)


async def test_a_full_disk_is_a_failure_that_passes(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(_file: int, _bytes: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sink = make(tmp_path / "events.jsonl")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(Unavailable, match="No space left on device"):
            await sink.deliver(numbered(1))
    await sink.deliver(numbered(2))


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full"])
async def test_what_is_no_regular_file_is_refused(make: Make, path: str) -> None:
    """It would take lines that nobody reads, or take them and fail to sync: the same ones again and again."""
    with pytest.raises(Unavailable, match="no regular file"):
        await make(path).deliver(numbered(1))


async def test_one_that_is_interrupted_before_its_turn_is_not_written(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delivery goes back to the store and comes again: a line now would only be a duplicate."""
    begun, may_go_on, sync = threading.Event(), threading.Event(), os.fdatasync

    def held_sync(file: int) -> None:
        begun.set()
        assert may_go_on.wait(10)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", held_sync)
    path = tmp_path / "events.jsonl"
    sink = make(path)
    deliveries = [asyncio.create_task(sink.deliver(numbered(0)))]
    assert await asyncio.to_thread(begun.wait, 10)
    deliveries += [asyncio.create_task(sink.deliver(numbered(number))) for number in (1, 2)]
    await asyncio.sleep(0)
    deliveries[1].cancel()
    await asyncio.sleep(0)
    may_go_on.set()
    await asyncio.gather(*deliveries, return_exceptions=True)
    assert [found["data"]["n"] for found in lines(path)] == [0, 2]


# Standard output


@contextmanager
def standard_output() -> Iterator[int]:
    """The reading end of a small pipe that stands for standard output. No fixture: pytest would put its own back."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with os.fdopen(writer, "w", encoding="utf-8") as stream, redirect_stdout(stream):
            yield reader
    finally:
        os.close(reader)


async def test_standard_output(make: Make) -> None:
    with standard_output() as reader:
        assert await make("-").deliver(numbered(1)) == "-"
        assert orjson.loads(os.read(reader, 65536))["data"]["n"] == 1


async def test_what_was_printed_before_comes_before(make: Make) -> None:
    with standard_output() as reader:
        print("before")  # noqa: T201
        delivering = asyncio.create_task(make("-").deliver(numbered(1)))
        assert await asyncio.to_thread(os.read, reader, 65536) == b"before\n"
        assert orjson.loads(await asyncio.to_thread(os.read, reader, 65536))["data"]["n"] == 1
        await delivering


async def test_a_reader_that_does_not_read_delays_and_then_fails(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A blocked write would keep the process from ending."""
    monkeypatch.setattr("relay.sinks.file.READER_TIME", 0.2)
    sink = make("-")
    with standard_output() as reader:
        big = delivery({"event": "x", "n": "x" * 20_000})
        with pytest.raises(Unavailable, match="nobody reads"):
            await asyncio.wait_for(sink.deliver(big), 30)
        read = os.read(reader, 65536)
        assert b"\n" not in read, "a part of it is in the pipe"
        await sink.deliver(numbered(2))
        rest = os.read(reader, 65536)
    assert rest.startswith(b"\n"), "the torn line is ended"
    assert orjson.loads(rest)["data"]["n"] == 2


async def test_a_reader_that_is_slow_gets_everything(make: Make) -> None:
    with standard_output() as reader:
        big = delivery({"event": "x", "n": "x" * 50_000})
        delivering = asyncio.create_task(make("-").deliver(big))
        read = b""
        while not read.endswith(b"\n"):
            read += await asyncio.to_thread(os.read, reader, 1000)
        assert await delivering == "-"
    assert orjson.loads(read)["data"]["n"] == "x" * 50_000


async def test_a_reader_that_has_gone_is_a_failure(make: Make) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with (
        os.fdopen(writer, "w", encoding="utf-8") as stream,
        redirect_stdout(stream),
        pytest.raises(Unavailable, match="Broken pipe"),
    ):
        await make("-").deliver(numbered(1))
