"""What a sink would send, told by the sink itself, in one form for every kind. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

import orjson

from relay.model import Delivery, value
from relay.payload import Defect, Json, decode
from relay.sensitive import CONCEALED, concealed


@value
class Look:
    """How somebody wants to see what would be sent. Without a word, what people are not shown stays hidden."""

    content: bool = False
    """Whether keys of livestreams, presigned links and bodies that cannot be read are shown."""
    secrets: bool = False
    """Whether what is made of secrets of the configuration is shown, and not masked."""
    emoji: Callable[[str], str] = str
    """Makes characters of the names in a text (`:tada:`), where a picture can show them."""

    def of(self, delivery: Delivery) -> Delivery:
        """The delivery as it may be seen; a sink makes its message of this one just as of the true one."""
        if self.content:
            return delivery
        payload = json_of(delivery.body)
        seen = CONCEALED.encode() if payload is None else orjson.dumps(concealed(payload))
        return replace(delivery, body=seen)


@value
class Preview:
    """What a sink would send, as it may be seen."""

    facts: Mapping[str, str | None]
    """What only this kind of sink has, such as its topic and key; the same names for every delivery."""
    headers: Mapping[str, str]
    """What goes with the payload."""
    payload: Json = None
    """The payload that is sent; None where it is no JSON."""
    body: bytes | None = field(default=None, repr=False)
    """The bytes that are sent, where the sink itself decides on each of them."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """For people, in the place of the fact of the same name."""
    pictured: bool = False
    """Whether the pictures show all of it, headers and payload included."""
    notes: Sequence[str] = ()
    """What else is worth knowing."""
    variables: Sequence[str] = ()
    """Names that stand for secrets: what a shell would have to fill in for a picture to work."""


def json_of(body: bytes) -> Json:
    """The JSON in a body, read as leniently as an event is; None where there is none, or nested too deeply."""
    decoded = decode(body)
    if decoded.defect is Defect.NOT_OBJECT:
        decoded = decode(b'{"it":' + body + b"}")  # so that its depth is bounded too
        return decoded.payload.get("it")
    return decoded.payload if decoded.defect is None else None
