"""A faulty wire to a Kafka broker that can also put error codes into the broker's answers to Produce.

https://kafka.apache.org/protocol#protocol_messages
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import Self
from weakref import WeakKeyDictionary

from tests.fakes.wire import Link, Wire

NOT_LEADER = 6
NOT_ENOUGH_REPLICAS = 19
OUT_OF_ORDER_SEQUENCE = 45
METADATA = 3
_PRODUCE = 0
_LAST_PLAIN_VERSION = 8  # later versions of Produce have another layout


@dataclass
class _Halves:
    """What of one connection has come only in part, and which requests wait for their answer."""

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)
    asks: dict[int, int] = field(default_factory=dict)
    """API keys by correlation id."""


class KafkaWire(Wire):
    """A `Wire`; the broker must name its port as its own (advertised.listeners)."""

    def __init__(self, behind: int, *, port: int = 0) -> None:
        super().__init__(behind, port=port)
        self.edited = 0
        """Answers that were changed."""
        self.kept_back: set[int] = set()
        """API keys of requests whose answers are lost."""
        self._codes: deque[int] = deque()
        self._halves: WeakKeyDictionary[Link, _Halves] = WeakKeyDictionary()

    def will_answer(self, *codes: int) -> Self:
        """Put these error codes into the next answers to Produce, one into each."""
        self._codes.extend(codes)
        return self

    def through(self, link: Link, chunk: bytes, *, answer: bool) -> bytes:
        halves = self._halves.setdefault(link, _Halves())
        if not answer:
            for frame in _frames(halves.asked, chunk):
                self._note(halves, frame)
            return chunk
        return b"".join(self._answer(halves, frame) for frame in _frames(halves.answered, chunk))

    def _note(self, halves: _Halves, frame: bytes) -> None:
        key, version, correlation = struct.unpack_from(">hhi", frame, 4)
        assert key != _PRODUCE or version <= _LAST_PLAIN_VERSION
        halves.asks[correlation] = key

    def _answer(self, halves: _Halves, frame: bytes) -> bytes:
        (correlation,) = struct.unpack_from(">i", frame, 4)
        key = halves.asks.pop(correlation, None)
        if key in self.kept_back:
            return b""
        if key != _PRODUCE or not self._codes:
            return frame
        self.edited += 1
        edited = bytearray(frame)
        (length,) = struct.unpack_from(">h", frame, 12)  # of the topic's name, after size, correlation and count
        struct.pack_into(">h", edited, 14 + length + 8, self._codes.popleft())  # after count and partition
        return bytes(edited)


def _frames(buffer: bytearray, chunk: bytes) -> list[bytes]:
    """The messages that are whole now, each with its length in front; the rest stays in the buffer."""
    buffer += chunk
    whole = []
    while len(buffer) >= 4 and len(buffer) >= (size := 4 + int.from_bytes(buffer[:4], "big")):
        whole.append(bytes(buffer[:size]))
        del buffer[:size]
    return whole
