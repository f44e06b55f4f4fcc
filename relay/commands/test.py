"""`relay test`: runs the route tests that stand beside a configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import NoReturn

import click
from rich.table import Table
from rich.text import Text

from relay.commands.consoles import err, out
from relay.commands.decisions import miss
from relay.commands.junit import junit as junit_xml
from relay.commands.output import FAILED, WRONG_USE, config_option, counted, fail, json_option, plain, print_json
from relay.commands.results import LABEL, Result, in_words
from relay.commands.showing import quarantined
from relay.config import Config, InvalidConfig, Problem, rehearse
from relay.config.problems import WHOLE_FILE
from relay.config.routetests import Given, Known, RouteTest, read_tests
from relay.expectations import Outcome, RouteSaid, Sent, judge
from relay.explaining import Explainer, Explanation, Sending, event_of, example_body, source_of
from relay.model import Event, Failure, value
from relay.overrides import Unchangeable, overridden
from relay.payload import Payload, decode
from relay.preview import Look
from relay.simulator import EXAMPLES, START, Provider
from relay.simulator.sending import write
from relay.vocabulary import KNOWN_TYPES

PROVIDERS: Sequence[Provider] = ("dyte", "realtimekit")
EVENT_ID = "019e8cec-f500-7000-8000-000000000001"
"""The id of every event of a test, accepted when simulated time begins: so that a test sees the same on every day."""
_INDENT = " " * 10
_STYLES = {"expected": "green", "but it is": "red", "because": "yellow"}
_TRUE, _SHOWN = Look(content=True), Look()
"""What tests judge, and what they print of it. Secrets are masked in both: a test passes with and without them."""


@value
class Prepared:
    """A test, and the event that it gives."""

    test: RouteTest
    event: Event


@click.command()
@config_option
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("-k", "chosen", metavar="TEXT", help="Only tests with this text in their name.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write the results as JUnit XML too.")
@json_option
def test(config_path: Path, files: Sequence[Path], chosen: str | None, junit: Path | None, as_json: bool) -> None:  # noqa: FBT001
    """Run the route tests that stand beside the configuration: what is given, where it goes, what would be sent.

    The tests of relay.yaml are in relay.test.yaml, unless FILES are named. Nothing is sent, and no variable of the
    configuration has to be set. Secrets read as a $VARIABLE in what tests see, whether they are set or not.

    Exit code 0 if all passed, 1 if some failed, 2 if the tests or the configuration are wrong.

    \b
    Examples:
      relay test
      relay test -c relay.yaml -k recording
      relay test routes.test.yaml cards.test.yaml --junit build/relay.xml
    """
    try:
        explainer, prepared, unset = _loaded(config_path, files)
    except InvalidConfig as error:
        _end(error, as_json=as_json)
    results = [_run(explainer, each) for each in _chosen(prepared, chosen)]
    if junit is not None:
        _write(junit, results)
    if as_json:
        print_json(_json(results, unset))
    else:
        _print(results)
    if not all(result.passed for result in results):
        raise SystemExit(FAILED)


def _loaded(config_path: Path, files: Sequence[Path]) -> tuple[Explainer, Sequence[Prepared], Sequence[str]]:
    """All that the tests need; of several wrong files, what is wrong with each."""
    rehearsal = rehearse(config_path, os.environ)
    explainer = Explainer(rehearsal.config)
    known = _known(explainer)
    prepared: list[Prepared] = []
    problems: list[Problem] = []
    for file in files or [_beside(config_path)]:
        try:
            prepared += _prepared(read_tests(file, known), rehearsal.config)
        except InvalidConfig as error:
            problems += error.problems
    if problems:
        raise InvalidConfig(problems)
    return explainer, prepared, rehearsal.unset


def _beside(config_path: Path) -> Path:
    """`relay.test.yaml` for `relay.yaml`."""
    return config_path.with_name(f"{config_path.stem}.test{config_path.suffix or '.yaml'}")


def _known(explainer: Explainer) -> Known:
    config = explainer.config
    source = next(iter(config.sources))
    any_event = _event(Given(place=WHOLE_FILE, example="meeting.started"), source, config)
    return Known(
        examples=[*EXAMPLES, *sorted(KNOWN_TYPES.difference(EXAMPLES))],
        providers=PROVIDERS,
        sources=config.sources,
        routes=[route.name for route in config.routes],
        sinks=explainer.facts(any_event),
    )


def _prepared(tests: Sequence[RouteTest], config: Config) -> Sequence[Prepared]:
    """The tests with their events, or what is wrong with those."""
    prepared, problems = list[Prepared](), list[Problem]()
    for each in tests:
        given = each.given
        source = given.source or source_of(config, _provider(given.provider))
        try:
            prepared.append(Prepared(test=each, event=_event(given, source, config)))
        except Unchangeable as error:
            problems.append(each.problem(str(error), "see what is there with `relay explain`"))
    if problems:
        raise InvalidConfig(problems)
    return prepared


def _provider(name: str | None) -> Provider | None:
    return next((provider for provider in PROVIDERS if provider == name), None)


def _event(given: Given, source: str, config: Config) -> Event:
    options = config.sources[source]
    if given.example is not None:
        provider = _provider(given.provider) or options.provider
        body = example_body(given.example, provider=provider, options=options)
    else:
        body = write(given.payload) if given.body is None else given.body
    if given.changes or given.without:
        body = write(overridden(_payload(body), given.changes, given.without))
    return event_of(
        body,
        event_id=EVENT_ID,
        source=source,
        options=options,
        received_at=START,
        webhook_id=given.webhook_id,
    )


def _payload(body: bytes) -> Payload:
    decoded = decode(body)
    if decoded.defect is not None:
        raise Unchangeable(f"nothing can be changed in the body: it is {decoded.defect}")
    return decoded.payload


def _chosen(prepared: Sequence[Prepared], text: str | None) -> Sequence[Prepared]:
    if text is None:
        return prepared
    chosen = [each for each in prepared if text.lower() in each.test.name.lower()]
    if not chosen:
        names = "".join(f"\n  {each.test.name}" for each in prepared)
        err.print(plain(f"no test has {text!r} in its name; there are{names}", keep="\n"), style="red", markup=False)
        raise SystemExit(WRONG_USE)
    return chosen


def _run(explainer: Explainer, prepared: Prepared) -> Result:
    began = perf_counter()
    true, shown = (explainer.explain(prepared.event, look) for look in (_TRUE, _SHOWN))
    mismatches = judge(prepared.test.expected, _outcome(true, shown))
    return Result(test=prepared.test, mismatches=mismatches, seconds=perf_counter() - began)


def _outcome(true: Explanation, shown: Explanation) -> Outcome:
    quarantine = true.quarantine
    return Outcome(
        routes={
            options.name: RouteSaid(to=options.to, miss="" if decision.matched else miss(options, decision))
            for options, decision in true.routes
        },
        sinks={sending.sink: _sent(sending, also) for sending, also in zip(true.sendings, shown.sendings, strict=True)},
        quarantine="" if quarantine is None else quarantined(true.event, quarantine),
    )


def _sent(true: Sending, shown: Sending) -> Sent | Failure:
    if isinstance(true.made, Failure):
        return true.made
    return shown.made if isinstance(shown.made, Failure) else Sent(true=true.made, shown=shown.made)


def _write(file: Path, results: Sequence[Result]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(junit_xml(results, at=datetime.now(UTC)))
    except OSError as error:
        text = f"--junit: cannot write {file}: {error.strerror or error}; name a place where you may write"
        err.print(plain(text), style="red", markup=False)
        raise SystemExit(WRONG_USE) from error


def _print(results: Sequence[Result]) -> None:
    file = ""
    for result in results:
        if result.test.file != file:
            file = result.test.file
            out.print(Text(plain(file), "bold"))
        _print_one(result)
    failed = sum(not result.passed for result in results)
    said = (
        f"{counted(len(results), 'test')}, all passed"
        if not failed
        else f"{failed} of {counted(len(results), 'test')} failed"
    )
    out.print(Text(said, "red" if failed else "green"))


def _print_one(result: Result) -> None:
    test = result.test
    if result.passed:
        out.print(Text.assemble(("  ok      ", "green"), plain(test.name)))
        return
    out.print(Text.assemble(("  failed  ", "bold red"), plain(test.name), (f"  {plain(test.file)}:{test.line}", "dim")))
    for line in in_words(result).split("\n"):
        _print_line(plain(line), _style(line))


def _print_line(line: str, style: str) -> None:
    """On a terminal a long text stays behind its label."""
    if not out.is_terminal or not line.startswith("  "):
        out.print(Text(f"{_INDENT}{line}", style))
        return
    grid = Table.grid()
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(f"{_INDENT}{line[:LABEL]:{LABEL}}", style), Text(line[LABEL:], style))
    out.print(grid, soft_wrap=False)


def _style(line: str) -> str:
    """What is expected and what is, in two colours."""
    return next((style for start, style in _STYLES.items() if line.startswith(f"  {start}")), "")


def _json(results: Sequence[Result], unset: Sequence[str]) -> dict[str, object]:
    failed = sum(not result.passed for result in results)
    return {
        "ok": not failed,
        "passed": len(results) - failed,
        "failed": failed,
        "tests": [
            {
                "file": result.test.file,
                "line": result.test.line,
                "name": result.test.name,
                "passed": result.passed,
                "seconds": result.seconds,
                "mismatches": [asdict(mismatch) for mismatch in result.mismatches],
            }
            for result in results
        ],
        "unset": unset,
    }


def _end(error: InvalidConfig, *, as_json: bool) -> NoReturn:
    """End, because the tests or the configuration are wrong."""
    if as_json:
        print_json({"ok": False, "errors": [asdict(problem) for problem in error.problems]})
        raise SystemExit(WRONG_USE)
    fail(error)
