"""`relay simulate`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict, Unpack
from urllib.parse import urlsplit

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from relay.commands.consoles import err, out
from relay.commands.output import FAILED, json_option, plain, print_json
from relay.commands.output import run as run_async
from relay.simulator import SCENARIOS, START, Provider, SimulatedWebhook, SimulatorKey
from relay.simulator import simulate as make_webhooks
from relay.simulator.posting import NO_ANSWER, Report, post_all

KEY_FOLDER = Path("data/simulator")


class What(TypedDict):
    """What happens, as `relay.simulator.simulate` takes it."""

    scenario: str
    provider: Provider
    meetings: int
    participants: int | None
    duplicates: float
    fresh_uuid: bool
    disorder: float


def _web_address(_context: click.Context, _parameter: click.Parameter, given: str) -> str:
    try:
        url = urlsplit(given)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter("write an address such as http://127.0.0.1:8080/webhooks/dyte")
    return given


@click.command()
@click.option(
    "--url",
    default="http://127.0.0.1:8080/webhooks/dyte",
    show_default=True,
    callback=_web_address,
    help="Where the relay takes webhooks.",
)
@click.option(
    "--scenario", type=click.Choice(sorted(SCENARIOS)), default="meeting", show_default=True, help="What happens."
)
@click.option(
    "--provider", type=click.Choice(["dyte", "realtimekit"]), default="dyte", show_default=True, help="Whose shapes."
)
@click.option("--meetings", default=1, show_default=True, type=click.IntRange(1), help="How many meetings.")
@click.option("--participants", type=click.IntRange(1), help="People in each meeting.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Webhooks a second; without it, as fast as it goes."
)
@click.option("--duplicates", default=0.0, type=click.FloatRange(0, 1), help="Share that is sent twice.")
@click.option("--fresh-uuid", is_flag=True, help="A repeat gets a new uuid, as RealtimeKit may do.")
@click.option("--disorder", default=0.0, type=click.FloatRange(0, 1), help="Share that comes late.")
@click.option("--seed", help="The same seed makes the same webhooks, which the relay then knows already.")
@click.option(
    "--concurrency", default=32, show_default=True, type=click.IntRange(1, 1000), help="Meetings at the same time."
)
@click.option("--retries", default=3, show_default=True, type=click.IntRange(0, 10), help="After a 5xx or no answer.")
@click.option(
    "--key",
    "key_folder",
    default=KEY_FOLDER,
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the simulator's key pair; made on first use.",
)
@click.option("--print-key", is_flag=True, help="Only make the key pair and print the public key, for `public_key:`.")
@json_option
def simulate(
    url: str,
    rate: float | None,
    seed: str | None,
    concurrency: int,
    retries: int,
    key_folder: Path,
    print_key: bool,  # noqa: FBT001 - click calls it
    as_json: bool,  # noqa: FBT001
    **what: Unpack[What],
) -> None:
    """Post whole signed meetings at a relay, as Dyte or RealtimeKit would.

    The relay must trust the simulator's key: set RELAY_DYTE_PUBLIC_KEY for the relay.yaml of the repository, or
    `public_key:` of a source. Never do that in production.

    \b
    Examples:
      RELAY_DYTE_PUBLIC_KEY="$(relay simulate --print-key)" relay serve
      relay simulate
      relay simulate --meetings 100 --rate 50 --duplicates 0.1 --disorder 0.1
      relay simulate --scenario burst --provider realtimekit
    """
    key = _key(key_folder)
    if print_key:
        click.echo(key.public_pem, nl=False)
        return
    # A seed makes the same bytes on every day; without one the meeting took place an hour ago.
    start = START if seed else datetime.now(UTC) - timedelta(hours=1)
    seed = seed or secrets.token_hex(4)
    webhooks = make_webhooks(key, seed=seed, start=start, **what)
    report = _post(webhooks, url=url, rate=rate, concurrency=concurrency, retries=retries)
    if as_json:
        print_json(_json(report, seed=seed))
    else:
        _print(report, seed=seed)
        _say_what_to_do(report, url=url)
    if report.failed:
        raise SystemExit(FAILED)


def _key(folder: Path) -> SimulatorKey:
    try:
        return SimulatorKey.load_or_create(folder)
    except Exception as error:
        raise click.ClickException(str(error)) from error


def _post(
    webhooks: Iterator[SimulatedWebhook], *, url: str, rate: float | None, concurrency: int, retries: int
) -> Report:
    columns = (TextColumn("{task.completed:.0f} posted"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("posted", total=None)
        return run_async(
            post_all(
                webhooks,
                urls=url,
                rate=rate,
                concurrency=concurrency,
                retries=retries,
                told=lambda so_far: progress.update(task, completed=sum(so_far.outcomes.values())),
            )
        )


def _milliseconds(report: Report) -> Mapping[str, float]:
    """How long answers took."""
    return {
        name: round(report.percentile(share) * 1000, 1) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
    }


def _json(report: Report, *, seed: str) -> Mapping[str, Any]:
    return {
        "seed": seed,
        "posted": report.posted,
        "outcomes": report.outcomes,
        "given_up": report.given_up,
        "milliseconds": _milliseconds(report),
    }


def _print(report: Report, *, seed: str) -> None:
    for outcome, count in sorted(report.outcomes.items()):
        out.print(f"{count:7} {outcome}", markup=False)
    if report.seconds:
        times = _milliseconds(report)
        out.print(f"answers: p50 {times['p50']} ms, p99 {times['p99']} ms, max {times['max']} ms", markup=False)
    out.print(f"seed {seed}", markup=False)


def _say_what_to_do(report: Report, *, url: str) -> None:
    """About what was not taken."""
    if report.given_up:
        err.print("The rest was not posted: nothing was taken.", style="yellow")
    hints = {
        "401": "The relay does not trust the simulator's key; see `relay simulate --help`.",
        "503": "The relay has no public key yet, or its store fails; ask its /readyz.",
        "404": "The relay has no source with this path.",
        NO_ANSWER: f"Nothing answers at {url}; is `relay serve` running?",
    }
    for outcome, hint in hints.items():
        if report.outcomes[outcome]:
            err.print(plain(hint), style="yellow", markup=False)
