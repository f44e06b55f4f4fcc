"""One harness for each kind of sink: how to build it, look at what arrived, and take its destination away."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from relay.model import value
from relay.options import LaneOptions
from relay.ports import Sink
from relay.sinks import SinkOptions, build
from relay.sinks.file import FileOptions
from relay.sinks.http import HttpOptions
from tests.fakes.http import Answer, FakeHttp, Reset


@value
class Arrival:
    """One event as the destination has it."""

    id: str
    body: bytes


class Harness(ABC):
    """A destination on loopback, and sinks that post to it."""

    SECRETS: ClassVar[Sequence[str]] = ()
    """Texts of the options that must never be shown."""
    DISCREET: ClassVar[Sequence[str]] = ()
    """Texts of the options that no log or ledger may show, though the options themselves do."""
    TROUBLES: ClassVar[Sequence[str]] = ()
    """Names of ways in which the destination can refuse, besides being gone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    async def start(self) -> None:
        """Bring the destination up."""

    @abstractmethod
    async def stop(self) -> None:
        """Let go of everything."""

    @abstractmethod
    def options(self) -> SinkOptions:
        """Options of a sink that posts to the destination."""

    @abstractmethod
    async def arrived(self) -> list[Arrival]:
        """What the destination has, in order of arrival."""

    @abstractmethod
    async def take_away(self) -> None:
        """Let the destination be gone."""

    @abstractmethod
    async def bring_back(self) -> None:
        """Let it be there again, with what it had."""

    async def trouble(self, name: str) -> None:
        """Let the next delivery fail in this way."""
        raise NotImplementedError(name)

    def sink(self, options: LaneOptions | None = None) -> Sink:
        """A new sink."""
        chosen: Any = options or self.options()
        return build("sink", chosen)


class FileHarness(Harness):
    async def start(self) -> None:
        """A file needs nothing."""

    async def stop(self) -> None:
        """The folder is the test's."""

    @property
    def _path(self) -> Path:
        return self.folder / "events.jsonl"

    def options(self) -> FileOptions:
        return FileOptions(type="file", path=str(self._path))

    async def arrived(self) -> list[Arrival]:
        if not self._path.exists():
            return []
        return [_arrival(text) for text in self._path.read_bytes().split(b"\n") if text]

    async def take_away(self) -> None:
        if self._path.exists():
            self._path.rename(self.folder / "aside")
        self._path.mkdir()

    async def bring_back(self) -> None:
        self._path.rmdir()
        if (self.folder / "aside").exists():
            (self.folder / "aside").rename(self._path)


def _arrival(line: bytes) -> Arrival:
    """`data` is cut out of the line, because reading and writing it anew would hide a change of bytes."""
    _, _, rest = line.partition(b',"data":')
    return Arrival(id=json.loads(line)["id"], body=rest.removesuffix(b"}"))


class HttpHarness(Harness):
    SECRETS = ("QUFBQ0FOQVJZQ0FOQVJZQ0FOQVJZQ0FOQVJZQUFB", "Bearer canary-token-2718")
    DISCREET = ("canary-path-3141", "canary-query")  # many services put their key there
    TROUBLES = ("500", "401", "301", "410", "400", "reset", "echo")

    async def start(self) -> None:
        self._receiver = FakeHttp()
        await self._receiver.start()

    async def stop(self) -> None:
        await self._receiver.stop()

    def options(self) -> HttpOptions:
        secret, token = self.SECRETS
        path, query = self.DISCREET
        return HttpOptions.model_validate(
            {
                "type": "http",
                "url": f"{self._receiver.url}/{path}?key={query}",
                "headers": {"authorization": token},
                "secret": f"whsec_{secret}",
                "allow_private": True,
            }
        )

    async def arrived(self) -> list[Arrival]:
        return [Arrival(id=request.headers["webhook-id"], body=request.body) for request in self._receiver.requests]

    async def take_away(self) -> None:
        await self._receiver.stop()

    async def bring_back(self) -> None:
        await self._receiver.start()

    async def trouble(self, name: str) -> None:
        match name:
            case "reset":
                self._receiver.will(Reset())
            case "echo":
                self._receiver.will(Answer(500, " ".join(self.SECRETS).encode(), {"retry-after": self.SECRETS[1]}))
            case _:
                location = {"location": f"{self._receiver.url}/{self.DISCREET[0]}"} if name == "301" else {}
                self._receiver.will(Answer(int(name), headers=location))


HARNESSES: Sequence[type[Harness]] = (FileHarness, HttpHarness)
"""A new kind of sink adds its own here, and is tested."""
