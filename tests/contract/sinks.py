"""One harness for each kind of sink: how to build it, look at what arrived, and take its destination away."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from relay.model import Delivery, value
from relay.options import LaneOptions
from relay.ports import PreviewedSink
from relay.preview import json_of
from relay.sinks import SinkOptions, build
from relay.sinks.file import FileOptions
from relay.sinks.http import HttpOptions
from relay.sinks.kafka import KafkaOptions
from relay.sinks.slack import SlackOptions
from tests.brokers import Broker
from tests.fakes.http import Answer, FakeHttp, Reset
from tests.fakes.slack import WEBHOOK_PATH, FakeSlack, Refuse
from tests.fakes.slack import Answer as SlackAnswer
from tests.fakes.slack import Reset as SlackReset
from tests.kafka.real import RealBroker


@value
class Arrival:
    """One event as the destination has it."""

    id: str
    body: bytes


@value
class Sent:
    """One message as it came, in the words of a preview."""

    facts: Mapping[str, str | None]
    headers: Mapping[str, str]
    body: bytes = b""
    """Empty where a client of somebody else's writes it."""
    payload: object = None


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

    def hasty(self) -> SinkOptions:
        """The same of one that soon gives up where nobody is there."""
        return self.options()

    @abstractmethod
    async def arrived(self) -> list[Arrival]:
        """What the destination has, in order of arrival."""

    @abstractmethod
    async def sent(self) -> Sent:
        """The last that arrived, whole, but for what a client adds to any message."""

    def arrival(self, delivery: Delivery) -> Arrival:
        """What it should have of a delivery: the very bytes, but for sinks that make a text of them."""
        return Arrival(id=delivery.event.id, body=delivery.body)

    @abstractmethod
    async def take_away(self) -> None:
        """Let the destination be gone."""

    @abstractmethod
    async def bring_back(self) -> None:
        """Let it be there again, with what it had."""

    async def trouble(self, name: str) -> None:
        """Let the next delivery fail in this way."""
        raise NotImplementedError(name)

    def sink(self, options: LaneOptions | None = None) -> PreviewedSink:
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

    async def sent(self) -> Sent:
        last = self._path.read_bytes().splitlines(keepends=True)[-1]
        beside = {name: str(text) for name, text in json.loads(last).items() if name != "data"}
        payload = json_of(_arrival(last.rstrip(b"\n")).body)
        return Sent(facts={"path": str(self._path)}, headers=beside, body=last, payload=payload)

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


_OF_ANY_CLIENT = {"host", "accept", "accept-encoding", "content-length"}


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

    async def sent(self) -> Sent:
        last = self._receiver.requests[-1]
        headers = {name.lower(): text for name, text in last.headers.items() if name.lower() not in _OF_ANY_CLIENT}
        facts = {"method": last.method, "url": f"{self._receiver.url}{last.path}"}
        return Sent(facts=facts, headers=headers, body=last.body, payload=json_of(last.body))

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


class SlackHarness(Harness):
    SECRETS = (WEBHOOK_PATH.rsplit("/", 1)[1],)
    TROUBLES = ("500", "no_service", "invalid_payload", "reset")

    async def start(self) -> None:
        self._slack = FakeSlack()
        await self._slack.__aenter__()

    async def stop(self) -> None:
        await self._slack.__aexit__(None, None, None)

    def options(self) -> SlackOptions:
        text = "{{ relay.id }} {{ meeting.title }}{{ short }}"
        return SlackOptions.model_validate(
            {"type": "slack", "webhook_url": self._slack.webhook_url, "text": text, "timeout": "60s"}
        )

    async def arrived(self) -> list[Arrival]:
        texts = [message["text"].partition(" ") for message in self._slack.messages]
        return [Arrival(id=event_id, body=rest.strip().encode()) for event_id, _, rest in texts]

    async def sent(self) -> Sent:
        last = self._slack.messages[-1]
        return Sent(facts={"channel": None, "text": last["text"]}, headers={}, payload=last)

    def arrival(self, delivery: Delivery) -> Arrival:
        payload = delivery.payload
        text = payload["meeting"]["title"] if "meeting" in payload else str(payload["short"])
        return Arrival(id=delivery.event.id, body=text.encode())

    async def take_away(self) -> None:
        await self.stop()

    async def bring_back(self) -> None:
        await self._slack.__aenter__()

    async def trouble(self, name: str) -> None:
        match name:
            case "reset":
                self._slack.will(SlackReset())
            case "500":
                self._slack.will(SlackAnswer(500, "oops"))
            case _:
                self._slack.will(Refuse(name), Refuse(name))  # the second answers the plain text after the card


class KafkaHarness(Harness):
    """A topic of a real broker, which the test may stop."""

    def __init__(self, folder: Path, process: RealBroker) -> None:
        super().__init__(folder)
        self._process = process
        self._topic = f"contract-{uuid4()}"

    async def start(self) -> None:
        self._broker = Broker(self._process.bootstrap, kind="real")
        await self._broker.create_topic(self._topic)

    async def stop(self) -> None:
        """The broker is there for others, too."""

    def options(self) -> KafkaOptions:
        servers = [self._process.bootstrap]
        return KafkaOptions.model_validate(
            {"type": "kafka", "bootstrap_servers": servers, "topic": self._topic, "timeout": "30s"}
        )

    def hasty(self) -> KafkaOptions:
        return self.options().model_copy(update={"timeout": timedelta(seconds=3)})

    async def arrived(self) -> list[Arrival]:
        records = await self._broker.consume(self._topic, await self._broker.size(self._topic))
        return [Arrival(id=record.headers["ce_id"].decode(), body=record.value) for record in records]

    async def sent(self) -> Sent:
        last = (await self._broker.consume(self._topic, await self._broker.size(self._topic)))[-1]
        key = None if last.key is None else last.key.decode()
        return Sent(
            facts={"topic": last.topic, "key": key, "partition_key": key},
            headers={name: text.decode() for name, text in last.headers.items()},
            body=last.value,
            payload=json_of(last.value),
        )

    async def take_away(self) -> None:
        await asyncio.to_thread(self._process.stop)

    async def bring_back(self) -> None:
        await asyncio.to_thread(self._process.start)


HARNESSES: Sequence[type[Harness]] = (FileHarness, HttpHarness, SlackHarness)
"""A new kind of sink adds its own here, and is tested. Kafka's is made by the fixture: it needs a broker."""
