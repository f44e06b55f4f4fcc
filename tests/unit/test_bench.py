"""The benchmark's own rules: a figure that is wrong is worse than none."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest
from aiohttp import web

from bench.charts import Bar, Chart
from bench.contenders import Contender, Place
from bench.measure import Spread, Turn, in_turns
from bench.openloop import Generator
from bench.pool import pool
from bench.processes import Cores, Process, busy, tree
from bench.report import Report
from bench.results import Section, Target, by_contender, oddities, ratios
from bench.run import Settings
from bench.smoke import problems
from relay.publickey import PublicKey

TURN = Turn(
    contender="relay",
    round=1,
    events=100,
    seconds=1.0,
    per_second=100.0,
    cpu_us=10.0,
    refused=0,
    broken=0,
    duplicates=0,
    own_share=0.95,
    server_core=1.0,
    load_core=0.5,
)


def test_a_pool_has_signed_bodies_no_two_of_which_are_alike(tmp_path: Path) -> None:
    made = pool(tmp_path, size=40)
    key = PublicKey.read(made.public_key)
    bodies = set()
    for record in made.records():
        head, _, body = record.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        assert key.verify(body, base64.b64decode(headers["dyte-signature"]))
        assert int(headers["content-length"]) == len(body)
        bodies.add(body)
    assert len(bodies) == 40
    assert pool(tmp_path, size=40).records() == made.records()


async def test_an_open_loop_goes_on_while_nobody_is_answered(tmp_path: Path) -> None:
    came, uuids = asyncio.Event(), set[str]()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        uuids.add(request.headers["dyte-uuid"])
        if len(uuids) == 30:
            came.set()
        await came.wait()
        return web.Response(body=orjson.dumps({"status": "accepted", "id": request.headers["dyte-uuid"]}))

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/dyte"
    generator = Generator(url, pool(tmp_path, size=20).records(), lap=7)
    await asyncio.to_thread(generator.run, rate=300.0, seconds=0.3)
    await runner.cleanup()
    answers = generator.answers
    assert len(answers.seconds) == len(answers.statuses) >= 30
    assert answers.no_good == 0
    assert len(set(answers.ids)) == len(answers.ids), "a uuid was used twice, though the pool was gone through"
    waited = [seconds for _, seconds in sorted(zip(answers.due, answers.seconds, strict=True))]
    assert waited[0] > waited[29], "the first waited for the thirtieth, from when it was due"


def test_each_contender_is_first_in_its_turn() -> None:
    order: list[tuple[str, int]] = []

    def measure(contender: Contender, _place: Place, number: int) -> Turn:
        order.append((contender.name, number))
        return replace(TURN, contender=contender.name, round=number)

    contenders = [Contender(name=name, label=name, start=lambda _place: nullcontext()) for name in "abc"]  # type: ignore[arg-type,return-value]
    place = Place.__new__(Place)
    assert len(list(in_turns(contenders, place, rounds=2, measure=measure))) == 6
    assert order == [("a", 1), ("b", 1), ("c", 1), ("b", 2), ("c", 2), ("a", 2)]


def test_ratios_are_taken_round_by_round() -> None:
    speeds = {"one": (50.0, 90.0, 40.0), "other": (100.0, 100.0, 80.0)}
    turns = [
        replace(TURN, contender=name, round=number, per_second=speed)
        for name, known in speeds.items()
        for number, speed in enumerate(known)
    ]
    assert ratios(by_contender(turns), "one", "other") == Spread(median=0.5, low=0.5, high=0.9)


def test_a_report_tells_what_disturbed_it() -> None:
    assert not oddities([TURN])
    [odd] = oddities([replace(TURN, duplicates=3)])
    assert "3 taken for duplicates" in odd
    [odd] = oddities([replace(TURN, own_share=0.6)])
    assert "40%" in odd


@pytest.mark.parametrize(("found", "met"), [(0.85, True), (0.849, False)])
def test_a_target_is_met_at_its_figure(*, found: float, met: bool) -> None:
    assert Target.at_least("it", 0.85, found).met is met
    assert Target.at_most("it", found, 0.85).met is met


def test_bars_are_as_long_as_their_figures() -> None:
    spreads = {"a <b>": 50.0, "relay": 100.0}
    bars = [Bar(label=name, spread=Spread.of([figure]), ours=True) for name, figure in spreads.items()]
    picture = ET.fromstring(Chart(name="x", title="X & Y", unit="events/s", bars=bars).svg())
    half, whole = (float(bar.attrib["width"]) for bar in picture.iter("{http://www.w3.org/2000/svg}rect"))
    assert half * 2 == pytest.approx(whole)


def test_a_report_has_every_figure_and_a_short_run_looks_at_them(tmp_path: Path) -> None:
    bars = [Bar(label="relay", spread=Spread.of([1.0]), ours=True)]
    section = Section(
        name="accept",
        title="Taking events in",
        text="",
        columns=("", "events/s"),
        rows=[("relay", "100")],
        targets=[Target.at_least("it", 0.85, 0.9)],
        charts=[Chart(name="accept", title="", unit="events/s", bars=bars)],
        raw=[TURN],
    )
    report = Report(
        command="make bench",
        began=datetime(2026, 11, 25, tzinfo=UTC),
        minutes=1.0,
        machine={
            **dict.fromkeys(("processor", "memory_gib", "system", "kernel", "file_system", "fdatasync_us"), "x"),
            "virtual": True,
            "cores": 2,
            "load_before": 0.0,
        },
        versions={"python": "3.11"},
        settings=Settings(),
        median_body=600,
        sections=[section],
        missing={"workers": "none"},
    )
    report.write(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"report.md", "report.json", "accept.svg"}
    assert "| it | ≥ 0.85 | 0.9 | **met** |" in (tmp_path / "report.md").read_text()
    assert b'"cpu_us": 10.0' in (tmp_path / "report.json").read_bytes()
    assert not problems(report, tmp_path)
    for wrong in ({"events": 0}, {"refused": 1}, {"per_second": float("nan")}):
        turned = replace(section, raw=[replace(TURN, **wrong)])
        assert len(problems(replace(report, sections=[turned]), tmp_path)) == 1
    assert len(problems(replace(report, missing={"kafka": "no Java"}), tmp_path)) == 1


def test_processor_time_is_that_of_all_its_processes(tmp_path: Path) -> None:
    child = "import time\nwhile time.process_time() < 0.4: pass\nprint(1, flush=True); time.sleep(60)"
    parent = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    running = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    process = Process(running, tmp_path / "log")
    assert running.stdout is not None
    assert running.stdout.readline() == b"1\n"
    assert process.cpu() >= 0.3
    assert len(tree(process.pid)) == 2
    process.kill()
    assert running.stdout.read() == b"", "it ends when all who hold it have"
    running.stdout.close()


def test_a_core_is_never_more_than_busy() -> None:
    worked, there = busy(Cores.choose().load)
    assert 0 < worked <= there
    assert Cores.choose().server in os.sched_getaffinity(0)
