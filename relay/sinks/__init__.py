"""The sinks. This is the only list of their kinds: a new one adds a line to the union and a case to `build`."""

from __future__ import annotations

from typing import Annotated, TypeAlias, assert_never

from pydantic import Field

from relay.ports import PreviewedSink
from relay.sinks.file import FileOptions, FileSink
from relay.sinks.http import HttpOptions, HttpSink
from relay.sinks.kafka import KafkaOptions, KafkaSink, Observer
from relay.sinks.slack import SlackOptions, SlackSink

SinkOptions: TypeAlias = Annotated[KafkaOptions | HttpOptions | SlackOptions | FileOptions, Field(discriminator="type")]


def build(name: str, options: SinkOptions, observer: Observer | None = None) -> PreviewedSink:
    """The sink that these options describe. Does no I/O: a dead destination delays nobody's start."""
    match options:
        case KafkaOptions():
            return KafkaSink(name, options, observer)
        case HttpOptions():
            return HttpSink(name, options)
        case SlackOptions():
            return SlackSink(name, options)
        case FileOptions():
            return FileSink(name, options)
        case _:
            assert_never(options)
