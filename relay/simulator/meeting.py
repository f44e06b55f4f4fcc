"""What happened in a simulated meeting, before anybody writes it down as JSON."""

from __future__ import annotations

from datetime import datetime

from relay.model import value


@value
class Meeting:
    """The facts of one meeting that all of its events repeat."""

    id: str
    session_id: str
    title: str
    room_name: str | None
    """Only meetings made by Dyte's v1 API have one."""
    started_at: datetime
    organization_id: str
    organization_name: str


@value
class Visit:
    """One connection of one person; who comes back has a second one."""

    peer_id: str
    name: str
    custom_id: str
    """The integrator's id of the person."""
    joined_at: datetime
    left_at: datetime


@value
class Recording:
    """One recording, as it will have been when all is done."""

    id: str
    invoked_at: datetime
    started_at: datetime
    stopped_at: datetime
    file_name: str
    size: int
    """Bytes."""
    stop_reason: str
    """The sender's text: looks like JSON, is none."""


@value
class Stream:
    """One livestream."""

    id: str
    key: str
    """Looks like a stream key and opens nothing."""
