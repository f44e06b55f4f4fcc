"""`make bench-outage`: what a dead world costs the sender.

Two relays of the same configuration answer in turns, round by round: one whose sinks take everything, and one whose
sinks accept each connection and never answer. The 99th percentile of the answers of the second should be at most 1.2
times that of the first in the same round (median over the rounds), with no answer but 200.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from bench.load import Answers, open_loop, signed
from bench.receiver import receiver
from bench.relays import relay
from relay.simulator import SimulatorKey

TARGET = 1.2


def _sinks(url: str) -> dict[str, Any]:
    """Two of them, ordered and not."""
    return {
        name: {"type": "http", "url": f"{url}/{name}", "allow_private": True, "order": order}
        for name, order in {"crm": "none", "search": "meeting"}.items()
    }


async def _measure(folder: Path, *, rounds: int, seconds: float, per_second: float) -> list[tuple[Answers, Answers]]:
    key = SimulatorKey.create()
    async with AsyncExitStack() as stack:
        urls = {}
        for name in ("healthy", "hung"):
            sinks = _sinks(await stack.enter_async_context(receiver(hangs=name == "hung")))
            made = relay(folder / name, source={"public_key": key.public_pem}, sinks=sinks)
            urls[name] = await stack.enter_async_context(made)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=5.0))
        )
        found = []
        for number in range(-1, rounds):  # the first is for warming up
            both: dict[str, Answers] = {}
            for name in ("healthy", "hung") if number % 2 else ("hung", "healthy"):
                webhooks = signed(key, round(seconds * per_second))
                both[name] = await open_loop(session, urls[name], webhooks, per_second=per_second)
                sys.stdout.write(f"round {number + 1}  {name:8} {both[name].summary()}\n")
                sys.stdout.flush()
            found.append((both["healthy"], both["hung"]))
        return found[1:]


def main() -> int:
    """Measure, and say whether the target is met."""
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each relay in each round")
    parser.add_argument("--rate", type=float, default=200.0, help="webhooks a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        found = asyncio.run(
            _measure(Path(folder), rounds=arguments.rounds, seconds=arguments.seconds, per_second=arguments.rate)
        )
    ratios = [hung.percentile(0.99) / healthy.percentile(0.99) for healthy, hung in found]
    refused = sum(answers.statuses.total() - answers.statuses[200] for pair in found for answers in pair)
    ratio, span = statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"
    sys.stdout.write(
        f"p99 with all sinks hung / p99 with healthy ones: {ratio:.2f} (median; {span}; target at most {TARGET}); "
        f"{refused} answers were no 200\n"
    )
    return 0 if ratio <= TARGET and not refused else 1


if __name__ == "__main__":
    raise SystemExit(main())
