"""Standard output or a file: one JSON line per event."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import select
import stat
import sys
from pathlib import Path
from typing import Literal

import orjson
from pydantic import Field

from relay.cloudevents import JSON, attributes, content_type
from relay.errors import Unavailable
from relay.model import Delivery, Reason
from relay.options import LaneOptions
from relay.preview import Look, Preview, json_of

STANDARD_OUTPUT = "-"
READER_TIME = 5.0
"""Seconds that a reader of standard output may take nothing. A write that blocks would keep the process from ending."""


class FileOptions(LaneOptions):
    """A file that grows by one JSON line per event."""

    type: Literal["file"]
    path: str = Field(min_length=1)
    """`-` for standard output, or a file; it is reopened when a log rotator has moved it away."""


class FileSink:
    """Appends a line for each delivery. What waits is written together, and synced, before anyone hears of success."""

    def __init__(self, name: str, options: FileOptions) -> None:
        self._name = name
        self._path = options.path
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._torn = False
        """Whether standard output ends inside a line."""

    async def deliver(self, delivery: Delivery) -> str:
        """See `Sink.deliver`. The receipt is the path."""
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((line(delivery), written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all(), name=f"file-{self._name}")
        await written
        return self._path

    def preview(self, delivery: Delivery, look: Look) -> Preview:
        """See `Previewed.preview`. What stands beside `data` in the line counts as headers."""
        seen = look.of(delivery)
        return Preview(
            facts={"path": self._path},
            headers={name: str(text) for name, text in _beside_data(seen).items()},
            payload=json_of(seen.body),
            body=line(seen),
        )

    async def close(self) -> None:
        """See `Sink.close`."""
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=5)

    async def _write_all(self) -> None:
        while group := [(text, written) for text, written in self._waiting if not written.done()]:
            self._waiting = []
            problem = await self._problem_of_writing(b"".join(text for text, _ in group))
            for _, written in group:
                if written.done():
                    continue  # its caller was interrupted meanwhile
                if problem is None:
                    written.set_result(None)
                else:
                    written.set_exception(Unavailable(Reason.IO, f"cannot write {self._path}: {problem}"))
        self._waiting = []
        self._writing = None

    async def _problem_of_writing(self, lines: bytes) -> str | None:
        try:
            await asyncio.to_thread(self._append, lines)
        except (OSError, ValueError) as error:  # ValueError: a path that is none, a standard output that was closed
            return getattr(error, "strerror", None) or str(error)
        return None

    def _append(self, lines: bytes) -> None:
        """Write and sync. The file is opened anew each time, so that one that was rotated away is not written to."""
        if self._path == STANDARD_OUTPUT:
            sys.stdout.flush()
            lines, self._torn = (b"\n" if self._torn else b"") + lines, True
            _write_to_reader(sys.stdout.fileno(), lines)
            self._torn = False
            return
        path = Path(self._path)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):  # a pipe takes lines that nobody reads, and cannot be synced
                raise OSError(errno.EINVAL, 'it is no regular file; for standard output the path is "-"')
            _write(file, _line_break_if_torn(file) + lines)
            getattr(os, "fdatasync", os.fsync)(file)  # macOS has only the latter
        finally:
            os.close(file)


def line(delivery: Delivery) -> bytes:
    """The event as one line of JSON: CloudEvents attributes, our own, and `data` as it was signed.

    A line break in valid JSON can only be white space between its tokens, so it is replaced and nothing is changed.
    A body that is no JSON goes into `data_base64`, as in the CloudEvents JSON format.
    """
    head = orjson.dumps(_beside_data(delivery))
    if content_type(delivery) == JSON:
        data = b',"data":' + delivery.body.replace(b"\r", b" ").replace(b"\n", b" ")
    else:
        data = b',"data_base64":"' + base64.b64encode(delivery.body) + b'"'
    return head[:-1] + data + b"}\n"


def _beside_data(delivery: Delivery) -> dict[str, str | int]:
    ours = {"route": delivery.route, "sink": delivery.sink}
    return attributes(delivery) | ours | ({"replay": delivery.replay} if delivery.replay else {})


def _write(file: int, lines: bytes) -> None:
    rest = memoryview(lines)
    while rest:
        rest = rest[os.write(file, rest) :]


def _write_to_reader(file: int, lines: bytes) -> None:
    """Write to what may be a pipe, only as much at a time as it surely takes without blocking."""
    ready = select.poll()
    ready.register(file, select.POLLOUT)
    rest = memoryview(lines)
    while rest:
        if not ready.poll(READER_TIME * 1000):
            raise OSError(errno.EAGAIN, f"nobody reads it for {READER_TIME:g} s")
        rest = rest[os.write(file, rest[: select.PIPE_BUF]) :]


def _line_break_if_torn(file: int) -> bytes:
    """A crash may have cut the last line; the next one must not be glued to it."""
    size = os.fstat(file).st_size
    return b"\n" if size and os.pread(file, 1, size - 1) != b"\n" else b""
