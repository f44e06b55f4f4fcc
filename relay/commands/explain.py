"""`relay explain`: what the configuration makes of one event, down to the bytes that each sink would send."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click
from rich.emoji import Emoji

from relay.commands.consoles import err, out
from relay.commands.output import (
    FAILED,
    WRONG_USE,
    config_option,
    existing_store,
    fail,
    filter_option,
    json_option,
    listed,
    plain,
    print_json,
)
from relay.commands.output import run as run_async
from relay.commands.showing import as_json as explanation_json
from relay.commands.showing import hides, show
from relay.commands.standing import suggestion
from relay.config import Config, Rehearsal, rehearse
from relay.errors import ConfigError
from relay.explaining import Explainer, event_of, example_body, source_of
from relay.identity import new_event_id
from relay.model import Event, value
from relay.preview import Look
from relay.simulator import EXAMPLES, Provider
from relay.vocabulary import KNOWN_TYPES

_MOST = 16 * 1024 * 1024
"""Bytes of a file that are read."""
_ID = re.compile(r"[0-9A-Fa-f-]{4,36}")


@value
class Asked:
    """What one call asks for."""

    config_path: Path
    given: str
    provider: Provider | None
    source: str | None


@click.command()
@config_option
@click.argument("event", metavar="EVENT")
@click.option("--provider", type=click.Choice(["dyte", "realtimekit"]), help="Whose shape a bundled example has.")
@filter_option("--source", help="The source that it comes from; without it, the first one.")
@filter_option("--sink", help="Only this sink, whether or not a route sends it there.")
@click.option("--reveal", is_flag=True, help="Print all of it: keys, links, and the SECRETS of the configuration.")
@json_option
def explain(
    config_path: Path,
    event: str,
    provider: Provider | None,
    source: str | None,
    sink: str | None,
    reveal: bool,  # noqa: FBT001 - click calls it
    as_json: bool,  # noqa: FBT001
) -> None:
    """Say what would become of an event: what every route says, and what each sink would be sent, rendered.

    EVENT is a file with a body as the sender writes it, `-` for standard input, the name of a bundled example (an
    event type, or recording.statusUpdate.uploading and the like), or the id of an event in the ledger. Nothing is sent,
    and no variable of the configuration has to be set.

    Keys of livestreams and presigned links read [hidden], and what is made of a secret is a $VARIABLE. With --reveal
    they are printed, and the command for curl works as it stands, for as long as its signature is fresh.

    \b
    Examples:
      relay explain recording.statusUpdate
      relay explain event.json --sink oncall
      relay explain 01990f3c-5a12-7abc --json
      relay explain meeting.started --provider realtimekit --source rtk
      relay explain meeting.ended --sink crm --reveal
    """
    rehearsal = _rehearsed(config_path)
    known = rehearsal.config
    _known("source", source, known.sources)
    _known("sink", sink, known.sinks)
    asked = Asked(config_path=config_path, given=event, provider=provider, source=source)
    found, origin = _event(asked, known)
    look = Look(content=reveal, secrets=reveal, emoji=Emoji.replace)
    explanation = Explainer(known).explain(found, look, only=sink)
    if as_json:
        print_json(explanation_json(explanation, origin=origin, unset=rehearsal.unset))
        return
    show(explanation, origin=origin, source=known.sources.get(found.source), sinks=known.sinks)
    _say_what_is_not_shown(rehearsal, reveal=reveal, hidden=hides(explanation))


def _rehearsed(config_path: Path) -> Rehearsal:
    try:
        return rehearse(config_path, os.environ)
    except ConfigError as error:
        fail(error)


def _known(what: str, name: str | None, names: Collection[str]) -> None:
    if name is not None and name not in names:
        _wrong(f"there is no {what} {name!r}; {suggestion(name, list(names))}")


def _event(asked: Asked, config: Config) -> tuple[Event, str]:
    """The event that is meant, and what it is."""
    file = Path(asked.given)
    if asked.given == "-":
        return _of_body(sys.stdin.buffer.read(_MOST), asked, config), "standard input"
    if asked.given in EXAMPLES or asked.given in KNOWN_TYPES:
        return _of_example(asked, config)
    if asked.provider is not None:
        _wrong("--provider chooses between the shapes of a bundled example, and this is none")
    if _is_file(file):
        return _of_body(_read(file), asked, config), str(file)
    if _ID.fullmatch(asked.given) is None:
        _wrong(_nothing(asked.given))
    return _of_ledger(asked), "from the ledger"


def _of_example(asked: Asked, config: Config) -> tuple[Event, str]:
    source = asked.source or source_of(config, asked.provider)
    provider: Provider = asked.provider or config.sources[source].provider
    body = example_body(asked.given, provider=provider, options=config.sources[source])
    return _made(body, source, config), f"bundled example of {provider}"


def _of_body(body: bytes, asked: Asked, config: Config) -> Event:
    return _made(body, asked.source or next(iter(config.sources)), config)


def _made(body: bytes, source: str, config: Config) -> Event:
    now = datetime.now(UTC)
    return event_of(body, event_id=new_event_id(now), source=source, options=config.sources[source], received_at=now)


def _of_ledger(asked: Asked) -> Event:
    if asked.source is not None:
        _wrong("--source is for examples and files; an event of the ledger has one")

    async def read() -> Event | None:
        async with existing_store(asked.config_path) as store:
            record = await store.event(asked.given)
            return None if record is None else record.event

    event = run_async(read())
    if event is None:
        err.print(plain(_nothing(asked.given)), markup=False)
        raise SystemExit(FAILED)
    return event


def _is_file(file: Path) -> bool:
    try:
        return file.is_file() or file.is_fifo()
    except (OSError, ValueError):
        return False


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_MOST)
    except OSError as error:
        _wrong(f"{file} cannot be read: {error.strerror or error}; check who may read it")


def _nothing(given: str) -> str:
    near = suggestion(given, [*sorted(KNOWN_TYPES - {*EXAMPLES}), *EXAMPLES])
    return f"there is no file, no bundled example and no event in the ledger that is called {given!r}; {near}"


def _wrong(text: str) -> NoReturn:
    err.print(plain(text), style="red", markup=False)
    raise SystemExit(WRONG_USE)


def _say_what_is_not_shown(rehearsal: Rehearsal, *, reveal: bool, hidden: bool) -> None:
    names = listed(rehearsal.unset)
    if reveal and names:
        err.print(plain(f"not set, so something stands in for it: {names}"), style="yellow", markup=False)
    elif hidden and not reveal:
        out.print()
        text = "[hidden] and $VARIABLES stand for what is not shown; --reveal prints it, secrets included"
        out.print(plain(text), style="dim", markup=False)
