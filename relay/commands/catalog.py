"""`relay catalog`: which events there are, what is in them, and what relay.yaml makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import click
import orjson
from rich.text import Text

from relay.asyncapi import document
from relay.commands.consoles import err, out
from relay.commands.output import config_option, json_option, listed, load_config, plain, print_json, print_table
from relay.events import CATALOGUE
from relay.events.schema import Field, Schema, fields, fires, model_of, schema
from relay.payload import Json, Payload
from relay.simulator import EXAMPLES, Provider, example

_PROVIDERS: Mapping[Provider, str] = {"dyte": "Dyte", "realtimekit": "RealtimeKit"}
_ABSENT = "–"
_LONGEST = 64
"""Characters of a name that is repeated, or compared with those that there are."""
_NARROWEST = 20
"""Columns that a text keeps, however narrow the terminal is."""


def _event(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    """An event or an example, whatever its case."""
    if given is None:
        return None
    names = {name.lower(): name for name in (*EXAMPLES, *CATALOGUE)}
    if given.lower() in names:
        return names[given.lower()]
    near = get_close_matches(given.lower()[:_LONGEST], names, n=2, cutoff=0.5)
    asked = plain(given[:_LONGEST])
    hint = f"did you mean {' or '.join(names[name] for name in near)}?" if near else "`relay catalog` lists them"
    raise click.BadParameter(f"there is no event {asked!r}; {hint}")


@click.command()
@click.argument("event", required=False, callback=_event)
@click.option(
    "--provider", type=click.Choice(list(_PROVIDERS)), default="dyte", show_default=True, help="Whose example to show."
)
@click.option("--schema", "as_schema", is_flag=True, help="Print the JSON Schema of the event, or of all events.")
@click.option("--asyncapi", "as_asyncapi", is_flag=True, help="Print what relay.yaml sends as an AsyncAPI 3 document.")
@click.option(
    "--paths", is_flag=True, help="With --asyncapi: write the paths of HTTP sinks, where they hold no secret."
)
@config_option
@json_option
def catalog(
    event: str | None,
    provider: Provider,
    as_schema: bool,  # noqa: FBT001 - click calls it
    as_asyncapi: bool,  # noqa: FBT001
    paths: bool,  # noqa: FBT001
    config_path: Path,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show the events of Dyte and RealtimeKit: when they fire, what is in them, and an example.

    EVENT is the name of an event, or of one of its examples, such as recording.statusUpdate.invoked.

    --asyncapi writes an AsyncAPI 3 document in JSON: the Kafka topics and HTTP requests of relay.yaml with their keys,
    headers and payloads, for the people who consume them. It holds no secrets.

    \b
    Examples:
      relay catalog
      relay catalog recording.statusUpdate --provider realtimekit
      relay catalog meeting.ended --schema > meeting.ended.schema.json
      relay catalog --asyncapi -c relay.yaml > asyncapi.json
    """
    _refuse_nonsense(event, as_schema=as_schema, as_asyncapi=as_asyncapi, paths=paths)
    if as_asyncapi:
        _print_asyncapi(config_path, paths=paths)
    elif as_schema:
        print_json(schema(None if event is None else _type_of(event)))
    elif as_json:
        print_json([_view(name) for name in CATALOGUE] if event is None else _view(_type_of(event)))
    elif event is None:
        _print_list()
    else:
        _print_event(event, provider)


def _refuse_nonsense(event: str | None, *, as_schema: bool, as_asyncapi: bool, paths: bool) -> None:
    if as_asyncapi and (event is not None or as_schema):
        raise click.UsageError("--asyncapi is about all of relay.yaml: leave EVENT and --schema out.")
    if paths and not as_asyncapi:
        raise click.UsageError("--paths belongs to --asyncapi.")


def _type_of(name: str) -> str:
    """The type of an event, by its own name or that of an example."""
    return name if name in CATALOGUE else next(each for each in CATALOGUE if name.startswith(f"{each}."))


def _examples_of(event_type: str) -> Sequence[str]:
    return [name for name in EXAMPLES if _type_of(name) == event_type]


# For machines


def _view(event_type: str) -> Mapping[str, object]:
    return {
        "event": event_type,
        "fires": fires(event_type),
        "schema": schema(event_type),
        "examples": {
            provider: {name: example(name, provider=provider) for name in _examples_of(event_type)}
            for provider in _PROVIDERS
        },
    }


def _print_asyncapi(config_path: Path, *, paths: bool) -> None:
    made: Schema = document(load_config(config_path), paths=paths)
    print_json(made)
    if not made["channels"]:
        hint = f"{config_path}: no event goes to a sink of type kafka or http, so the document has no channels"
        err.print(plain(hint), style="yellow", markup=False)


# For people


def _print_list() -> None:
    width = max(map(len, CATALOGUE))
    for name in CATALOGUE:
        _described(Text(f"{name:{width}}", "bold"), fires(name))
    out.print()
    out.print("`relay catalog EVENT` shows one: its fields and an example.", style="dim", markup=False)


def _print_event(name: str, provider: Provider) -> None:
    event_type = _type_of(name)
    payload = example(name, provider=provider)
    out.print(Text(event_type, "bold"))
    _wrapped(" ".join((model_of(event_type).__doc__ or "").split()))
    out.print()
    columns = ("field", "type", f"in {_PROVIDERS[provider]}'s example")
    shown = fields(event_type)
    rows = [_row(each, payload) for each in shown]
    print_table(columns, rows, whole=("field", "type"), notes=[_note(each) for each in shown])
    out.print()
    out.print(Text(f"Example of {_PROVIDERS[provider]}", "bold"))
    print_json(payload)
    _print_more(name, event_type, provider)


def _print_more(name: str, event_type: str, provider: Provider) -> None:
    """What else one might want to see."""
    [other] = [each for each in _PROVIDERS if each != provider]
    others = [each for each in _examples_of(event_type) if example(each) != example(name)]
    out.print()
    if others:
        _wrapped(f"More examples: {listed(others)}", "dim")
    _wrapped(f"{_PROVIDERS[other]}'s form: --provider {other}. For machines: --json, --schema.", "dim")


def _row(field: Field, payload: Payload) -> Sequence[str | Text]:
    types = " or ".join(field.types)
    sent, found = _look(payload, field.path)
    if isinstance(found, dict):
        return (field.path, types, "")
    return (field.path, types, orjson.dumps(found).decode() if sent else Text(_ABSENT, "dim"))


def _note(field: Field) -> str:
    words = f" Known values: {', '.join(field.words)}." if field.words else ""
    return f"{field.description}{words}{' Deprecated.' if field.deprecated else ''}"


def _look(payload: Json, path: str) -> tuple[bool, Json]:
    for key in path.split("."):
        if not isinstance(payload, dict) or key not in payload:
            return False, None
        payload = payload[key]
    return True, payload


def _described(head: Text, text: str) -> None:
    """A name and what is said of it, which wraps beside the name on a terminal."""
    indent = head.cell_len + 2
    for number, line in enumerate(_lines(Text(text), indent)):
        out.print(Text.assemble(head if number == 0 else " " * head.cell_len, "  ", line))


def _wrapped(text: str, style: str = "") -> None:
    for line in _lines(Text(text, style), 0):
        out.print(line)


def _lines(text: Text, indent: int) -> Sequence[Text]:
    """The text in lines that a terminal has room for; anywhere else in one."""
    if not out.is_terminal:
        return [text]
    lines = text.wrap(out, max(_NARROWEST, out.width - indent))
    for line in lines:
        line.rstrip()
    return list(lines)
