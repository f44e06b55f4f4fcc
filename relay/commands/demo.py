"""`relay demo`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from rich.emoji import Emoji
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from relay import logs
from relay.commands.consoles import out
from relay.commands.output import FAILED, plain, print_table
from relay.commands.output import run as run_async
from relay.commands.receivers import receive, stop_signal
from relay.demo.play import TOPIC, Arrived, Stage, play, staged
from relay.sinks.slack.cards import picture

_LINE = 160
"""Characters that are shown of a line where the output has no width."""


@click.command()
@click.option("--meetings", default=2, show_default=True, type=click.IntRange(1, 1000), help="Of each provider.")
@click.option("--keep", is_flag=True, help="Leave everything running to play with, until Ctrl-C.")
@click.option(
    "--gateway-port", default=0, show_default="a free one", type=click.IntRange(0, 65535), help="Public side."
)
@click.option("--admin-port", default=0, show_default="a free one", type=click.IntRange(0, 65535), help="Private side.")
@click.option("--receivers", is_flag=True, help="Only the receivers, for a relay of your own, until Ctrl-C.")
def demo(
    meetings: int,
    keep: bool,  # noqa: FBT001 - click calls it
    gateway_port: int,
    admin_port: int,
    receivers: bool,  # noqa: FBT001
) -> None:
    """Start the whole relay on embedded parts, post signed meetings at it, and show what arrived where.

    Needs no server and no network: Kafka is librdkafka's mock cluster, the others are small loopback servers. What is
    shown was read back at the receiving end.

    With --receivers only these receivers run, and show what arrives. Their addresses, and the simulator's public key,
    are written to data/receivers.env: `. data/receivers.env` gives them to a shell.

    \b
    Examples:
      relay demo
      relay demo --keep --gateway-port 8080 --admin-port 8081
      relay demo --receivers
    """
    if receivers:
        run_async(receive())
        return
    listener = logs.start("text", "error")
    try:
        with tempfile.TemporaryDirectory(prefix="dyte-relay-") as folder:
            complete = run_async(_demo(Path(folder), meetings, keep=keep, ports=(gateway_port, admin_port)))
    finally:
        logs.stop(listener)
    if not complete:
        raise SystemExit(FAILED)


async def _demo(folder: Path, meetings: int, *, keep: bool, ports: tuple[int, int]) -> bool:
    async with staged(folder, gateway_port=ports[0], admin_port=ports[1]) as stage:
        out.print(Rule("dyte-relay demo", align="left"))
        out.print(
            f"relay      http://{stage.app.gateway_address}  (SQLite store, {len(stage.app.config.routes)} routes)"
        )
        out.print(f"receivers  Kafka {stage.kafka.bootstrap}, HTTP and Slack {stage.server.url}, a file")
        out.print(f"posting    {meetings} Dyte and {meetings} RealtimeKit meetings, signed, one in ten twice")
        arrived = await play(stage, meetings=meetings, told=lambda _report: None)
        _show_kafka(arrived)
        _show_http(stage)
        _show_slack(stage.server.messages)
        _show_file(arrived)
        _summarize(arrived)
        if keep:
            await _keep(stage)
        return arrived.complete


def _show_kafka(arrived: Arrived) -> None:
    out.print(Rule(f"Kafka topic {TOPIC}, read by librdkafka", align="left"))
    for message in arrived.messages[:3]:
        headers = message.headers
        out.print(f"partition {message.partition}  key {message.key}", markup=False)
        out.print(
            f"  {headers['ce_type']}  ce_id {headers['ce_id']}  relay_route {headers['relay_route']}", markup=False
        )
    _more(len(arrived.messages), 3)


def _show_http(stage: Stage) -> None:
    out.print(Rule("HTTP service, which verified each Standard Webhooks signature", align="left"))
    for request in stage.server.requests[:2]:
        verdict = "[green]signature right[/green]" if request.genuine else "[red]signature wrong[/red]"
        out.print(f"POST /crm  {request.headers['ce-type']}  {verdict}")
        out.print(f"  webhook-id {request.headers['webhook-id']}  {request.headers['webhook-signature']}", markup=False)
    _more(len(stage.server.requests), 2)


def _show_slack(messages: Sequence[dict[str, object]]) -> None:
    out.print(Rule("Slack channel", align="left"))
    for message in messages[:2]:
        out.print(picture(message, emoji=Emoji.replace), markup=False, emoji=False)
    _more(len(messages), 2)


def _show_file(arrived: Arrived) -> None:
    out.print(Rule("File, one JSON line per event", align="left"))
    for line in arrived.lines[:2]:
        text = Text(plain(line))
        text.truncate(out.width if out.is_terminal else _LINE, overflow="ellipsis")
        out.print(text)
    _more(len(arrived.lines), 2)


def _more(count: int, shown: int) -> None:
    if count > shown:
        out.print(f"… and {count - shown} more", style="dim")


def _summarize(arrived: Arrived) -> None:
    outcomes = arrived.posted.outcomes
    rows: list[tuple[str | Text, ...]] = []
    for sink, promised in arrived.expected.items():
        found = arrived.found[sink]
        judged = Text("all", "green") if found == promised else Text("not as promised", "red")
        rows.append((sink, str(promised), str(found), judged))
    out.print(Rule("Summary", align="left"))
    out.print(
        f"{arrived.posted.posted} webhooks posted: {outcomes['accepted']} accepted, {outcomes['duplicate']} duplicates "
        f"told, {arrived.posted.failed} refused; answers p99 {arrived.posted.percentile(0.99) * 1000:.0f} ms"
    )
    print_table(("sink", "promised", "arrived", ""), rows, right=("promised", "arrived"))
    verdict = "every event is where its routes sent it, once" if arrived.complete else "something is missing; see above"
    out.print(Panel.fit(verdict, border_style="green" if arrived.complete else "red"))


async def _keep(stage: Stage) -> None:
    stop = stop_signal()
    folder, urls = stage.folder, stage.urls
    out.print("Still running. In another terminal, in this environment:")
    for line in (
        f"relay simulate --key {folder}/simulator --url {urls['dyte']}",
        f"relay events list -c {folder}/relay.yaml",
        f"relay deliveries list -c {folder}/relay.yaml --sink crm",
        f"relay sinks list -c {folder}/relay.yaml",
        f"curl -s http://{stage.app.admin_address}/metrics | grep ^relay_",
        f"tail -f {folder}/events.jsonl",
    ):
        out.print(f"  {line}", markup=False)
    out.print("Ctrl-C ends it.")
    await stop.wait()
