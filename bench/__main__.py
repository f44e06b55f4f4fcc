"""`make bench`: the relay beside what one would write instead. bench/METHOD.md says what is measured, and what not."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from subprocess import SubprocessError
from time import monotonic

from bench import wrk
from bench.contenders import Place
from bench.machine import machine, versions
from bench.pool import pool
from bench.processes import Cores, NotRunning
from bench.report import Report
from bench.run import BUILD, SHORT, Missing, Run, Settings
from bench.scenarios import SCENARIOS
from bench.smoke import problems

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"

_FAILURES = (NotRunning, TimeoutError, SubprocessError)


def measure(names: Sequence[str], settings: Settings, *, command: str) -> Report:
    """Run these scenarios, one after the other."""
    BUILD.mkdir(parents=True, exist_ok=True)
    tool, cores, began, started = wrk.WRK.fetch(), Cores.choose(), datetime.now(UTC), monotonic()
    found, missing, surroundings = [], {}, machine(BUILD)
    cores.watch()
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="run-") as folder:
        sys.stderr.write("signing webhooks, unless there are some\n")
        webhooks = pool(BUILD, size=settings.pool)
        run = Run(settings=settings, place=Place(Path(folder), webhooks, cores), wrk=tool)
        with run.stack:
            for name in names:
                sys.stderr.write(f"{name}\n")
                try:
                    found.append(SCENARIOS[name](run))
                except (Missing, *_FAILURES) as why:  # what the others found is not lost
                    missing[name] = str(why) if isinstance(why, Missing) else f"it failed: {why}"
                    sys.stderr.write(f"  not measured: {missing[name]}\n")
    return Report(
        command=command,
        began=began,
        minutes=(monotonic() - started) / 60,
        machine=surroundings,
        versions=versions(),
        settings=settings,
        median_body=webhooks.median_body,
        sections=found,
        missing=missing,
    )


def main() -> int:
    """Measure, write the report, and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of load, in each turn")
    parser.add_argument("--only", default="", help=f"some of {','.join(SCENARIOS)}")
    parser.add_argument("--short", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument("--out", type=Path, help="folder for the report; bench/results for the whole run")
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name] or list(SCENARIOS)
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    told = {name: figure for name in ("rounds", "seconds") if (figure := getattr(given, name)) is not None}
    settings = replace(SHORT if given.short else Settings(), **told)
    whole = not given.only and not given.short
    report = measure(names, settings, command=_command(given))
    out = given.out or (RESULTS if whole else BUILD / "results")
    report.write(out)
    sys.stdout.write(report.markdown())
    sys.stderr.write(f"written to {out}\n")
    wrong = problems(report, out) if given.short else []
    sys.stderr.writelines(f"wrong: {problem}\n" for problem in wrong)
    return 1 if wrong or any("it failed" in why for why in report.missing.values()) else 0


def _command(given: argparse.Namespace) -> str:
    """What one would type to have the same again."""
    words = ["make bench-smoke" if given.short else "make bench"]
    words += [f"{name.upper()}={text}" for name in ("rounds", "seconds", "only") if (text := getattr(given, name))]
    return " ".join(words)


if __name__ == "__main__":
    raise SystemExit(main())
