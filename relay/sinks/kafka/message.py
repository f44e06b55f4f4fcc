"""The message that an event becomes in Kafka: its topic, key and headers. Pure.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from string import Formatter
from typing import NamedTuple

from relay.cloudevents import SPEC_VERSION, content_type, moment
from relay.errors import Misconfigured
from relay.expression import Expression, ExpressionError
from relay.model import Delivery, Event, Reason
from relay.options import Unfit
from relay.vocabulary import KNOWN_TYPES, type_label

_TOPIC = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}", re.ASCII)
"""https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/internals/Topic.java"""
_PLACEHOLDERS = frozenset({"type", "source"})


class Record(NamedTuple):
    """One message."""

    topic: str
    key: bytes | None
    body: bytes
    headers: Sequence[tuple[str, bytes]]


def record_of(delivery: Delivery, *, topic: str, key: str | Expression) -> Record:
    """The message for a delivery, by the sink's `topic` and `key`.

    Raises:
        Misconfigured: the topic is too long with the name of the source in it.
    """
    found = _key(key, delivery.event)
    return Record(
        _rendered(topic, delivery.event) if "{" in topic else topic,
        None if found is None else found.encode(),
        delivery.body,
        _headers(delivery),
    )


def checked_topic(topic: str) -> str:
    """The topic, or the template for one; a `ValueError` where it is neither."""
    for name in placeholders(topic):
        if name not in _PLACEHOLDERS:
            what = "only {type} and {source} may stand in a topic"
            raise Unfit(f"holds another name in braces; {what}", said=f"{topic!r} holds {{{name}}}; {what}")
    if not all(_TOPIC.fullmatch(_render(topic, label, "source")) for label in ("other", *KNOWN_TYPES)):
        raise Unfit("is no topic name; use 1 to 249 letters, digits, dots, hyphens and underscores", shown=repr(topic))
    return topic


def placeholders(topic: str) -> list[str]:
    """The names in braces; a `ValueError` where the braces do not match or hold more than a name."""
    try:
        parts = list(Formatter().parse(topic))
    except ValueError as error:
        raise Unfit("is no topic name: its braces do not match", shown=repr(topic)) from error
    if any(conversion or spec for _, _, spec, conversion in parts):
        raise Unfit("holds more than a name in braces; write {type} or {source}", shown=repr(topic))
    return [name for _, name, _, _ in parts if name is not None]


def topic_of(topic: str, *, event_type: str, source: str) -> str:
    """The topic of an event: of unknown types there are any number, and they share one."""
    return _render(topic, type_label(event_type), source)


def _rendered(topic: str, event: Event) -> str:
    rendered = topic_of(topic, event_type=event.type, source=event.source)
    if not _TOPIC.fullmatch(rendered):
        hint = "shorten or rename `topic` or the source"
        raise Misconfigured(Reason.UNKNOWN_TOPIC, f"{rendered!r} is no topic name: {hint}", partly=True)
    return rendered


def _render(topic: str, label: str, source: str) -> str:
    return topic.replace("{type}", label).replace("{source}", source)


def _key(rule: str | Expression, event: Event) -> str | None:
    """The message key. Never none by accident: that would scatter a meeting over the partitions."""
    if rule == "none":
        return None
    meeting = event.thread or event.id
    if rule == "session":
        return event.session or meeting
    if isinstance(rule, Expression):
        return _evaluated(rule, event) or meeting
    return meeting


def _evaluated(rule: Expression, event: Event) -> str | None:
    try:
        found = rule.search(event.payload)
    except ExpressionError:
        return None
    if found is None or isinstance(found, str):
        return found
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _headers(delivery: Delivery) -> list[tuple[str, bytes]]:
    event = delivery.event
    headers = [
        ("ce_id", event.id.encode()),
        ("ce_time", moment(event.received_at).encode()),
        *_common_headers(event.source, event.type, content_type(delivery), delivery.route),
    ]
    if event.meeting:
        headers.append(("ce_subject", event.meeting.encode()))
    if delivery.replay > 0:
        headers.append(("relay_replay", str(delivery.replay).encode()))
    return headers


@lru_cache(maxsize=1024)
def _common_headers(source: str, event_type: str, content: str, route: str) -> Sequence[tuple[str, bytes]]:
    """Those that thousands of messages share."""
    common = {"ce_source": source, "ce_type": event_type, "ce_specversion": SPEC_VERSION, "content-type": content}
    return [(name, text.encode()) for name, text in (common | {"relay_route": route}).items()]
