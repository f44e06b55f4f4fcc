"""The open loop: webhooks come when their time has come, however late the answers are.

A closed loop sends less while the server is slow, and so hides what latency is about (coordinated omission). Here
arrivals are a Poisson process with a fixed seed; each takes a connection that is free, or a new one. How long an answer
took counts from the moment at which its webhook was due, and how late this program itself was is told beside it.

It is a process of its own, one thread around `epoll`: asyncio's timers are good to a millisecond, which is what is
measured. `python -m bench.openloop` says when it begins, and then prints a line of JSON; SIGTERM ends it early, with
the answers that are owed.
"""

from __future__ import annotations

import argparse
import gc
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import orjson

from bench.pool import Pool, read
from bench.wrk import first_lap

PATIENCE = 10.0
"""Seconds that an answer is waited for after the last webhook."""
_READ = 65536
_READY = b"ready\n"
_BROKEN = 0
"""Stands in the place of a status where there was no answer."""


@dataclass
class Answers:
    """What came back, in order of arrival."""

    due: list[float] = field(default_factory=list)
    """When each webhook was due, in seconds since 1970."""
    seconds: list[float] = field(default_factory=list)
    """From then to its answer."""
    late: list[float] = field(default_factory=list)
    """From then to its sending: this program's own fault."""
    statuses: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """Of the events, as the relay answered them; empty where it said none."""

    @property
    def no_good(self) -> int:
        """Answers that were not 200."""
        return len(self.statuses) - Counter(self.statuses)[200]


def percentile(seconds: Sequence[float], share: float) -> float:
    """The time within which this share came, in milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class _Connection:
    """One connection, with at most one webhook under way."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.due = self.late = 0.0

    def answer(self) -> tuple[int, bytes] | None:
        """Read what is there: status and body of a whole answer; None: there is more to come."""
        try:
            chunk = self.socket.recv(_READ)
        except OSError:
            chunk = b""
        if not chunk:
            return _BROKEN, b""
        self.received += chunk
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        if len(body) < length:
            return None
        self.received = b""
        return int(head[9:12]), body


class Generator:
    """Sends at this rate and notes what comes back."""

    def __init__(self, url: str, records: Sequence[bytes], *, lap: int) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._head = f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\ndyte-uuid: "
        self._records = records
        self._lap = lap
        self._free: list[_Connection] = []
        self._busy: dict[int, _Connection] = {}
        self._open: dict[int, _Connection] = {}
        self._epoll = select.epoll()
        self._stopped = False
        self.answers = Answers()

    def stop(self) -> None:
        """Send no more."""
        self._stopped = True

    def run(self, *, rate: float, seconds: float) -> None:
        """Send for so long, once, and wait for the answers."""
        clock, wall = time.perf_counter, time.time() - time.perf_counter()
        for number, due in enumerate(_arrivals(rate, seconds, clock())):
            while (early := due - clock()) > 0:
                self._read(early, wall)
            if self._stopped:
                break
            self._send(number, due)
            self._read(0.0, wall)
        patience = clock() + PATIENCE
        while self._busy and (left := patience - clock()) > 0:
            self._read(left, wall)
        for connection in list(self._busy.values()):
            self._note(connection, _BROKEN, b"", wall)
        for connection in list(self._open.values()):
            self._drop(connection)
        self._epoll.close()

    def _send(self, number: int, due: float) -> None:
        connection = self._free.pop() if self._free else self._connect()
        lap, position = divmod(number, len(self._records))
        connection.socket.sendall(f"{self._head}{self._lap + lap:08x}".encode() + self._records[position])
        connection.due, connection.late = due, time.perf_counter() - due
        self._busy[connection.socket.fileno()] = connection

    def _connect(self) -> _Connection:
        connection = _Connection(self._host, self._port)
        self._open[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)
        return connection

    def _read(self, timeout: float, wall: float) -> None:
        # epoll counts in milliseconds, select in microseconds.
        if timeout and not select.select([self._epoll], [], [], timeout)[0]:
            return
        for number, _ in self._epoll.poll(0):
            connection = self._open[number]
            answer = connection.answer()
            if number in self._busy and answer is not None:
                self._note(connection, *answer, wall)
            elif answer is not None:  # the server has closed a connection that nobody used
                self._drop(connection)
                self._free.remove(connection)

    def _note(self, connection: _Connection, status: int, body: bytes, wall: float) -> None:
        del self._busy[connection.socket.fileno()]
        answers = self.answers
        answers.due.append(connection.due + wall)
        answers.seconds.append(time.perf_counter() - connection.due)
        answers.late.append(connection.late)
        answers.statuses.append(status)
        answers.ids.append(body.partition(b'"id":"')[2].partition(b'"')[0].decode())
        if status == _BROKEN:
            self._drop(connection)
        else:
            self._free.append(connection)

    def _drop(self, connection: _Connection) -> None:
        number = connection.socket.fileno()
        self._epoll.unregister(number)
        del self._open[number]
        connection.socket.close()


def _arrivals(rate: float, seconds: float, start: float) -> Iterator[float]:
    dice, due = Random(1), start
    while (due := due + dice.expovariate(rate)) < start + seconds:
        yield due


def open_loop(url: str, pool: Pool, *, rate: float, seconds: float) -> Answers:
    """Send at this rate for so long; the answers."""
    with sending(url, pool, rate=rate, seconds=seconds) as process:
        return _told(process, seconds)


@contextmanager
def sending(url: str, pool: Pool, *, rate: float, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """Send in the background; `finish` gets the answers."""
    command = [sys.executable, "-m", "bench.openloop", url, str(pool.path), "--rate", str(rate)]
    command += ["--seconds", str(seconds), "--lap", str(first_lap())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != _READY:
            raise RuntimeError("the generator does not start")
        yield process
    finally:
        process.kill()
        process.wait()


def finish(process: subprocess.Popen[bytes]) -> Answers:
    """End what `sending` began; the answers."""
    process.send_signal(signal.SIGTERM)
    return _told(process, 0.0)


def _told(process: subprocess.Popen[bytes], seconds: float) -> Answers:
    out, _ = process.communicate(timeout=seconds + 3 * PATIENCE)
    return Answers(**orjson.loads(out))


def main() -> None:
    """Send, and print what came back."""
    parser = argparse.ArgumentParser(prog="python -m bench.openloop", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("pool", type=Path)
    parser.add_argument("--rate", type=float, required=True, help="webhooks a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--lap", type=int, required=True, help="the number with which uuids begin")
    given = parser.parse_args()
    generator = Generator(given.url, list(read(given.pool)), lap=given.lap)
    signal.signal(signal.SIGTERM, lambda *_: generator.stop())
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    gc.disable()  # a pause of ours would be taken for one of the server's
    generator.run(rate=given.rate, seconds=given.seconds)
    sys.stdout.buffer.write(orjson.dumps(generator.answers))


if __name__ == "__main__":
    main()
