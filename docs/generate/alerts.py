"""One alert of config/prometheus/alerts.yml: what it asks, how long, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from docs.generate.words import block, code

FILE = Path(__file__).parents[2] / "config" / "prometheus" / "alerts.yml"


@cache
def rules() -> Mapping[str, Mapping[str, Any]]:
    """Every alert, by name."""
    document = yaml.safe_load(FILE.read_text("utf-8"))
    return {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}


def one(name: str) -> str:
    """An alert as its page shows it, without a heading.

    Raises:
        KeyError: there is no such alert.
    """
    rule = rules()[name]
    says = rule["annotations"]
    wait = f", after {rule['for']}" if "for" in rule else ""
    return (
        f"{code(rule['labels']['severity'])}{wait}: {_plain(says['summary'])}\n\n"
        f"{block(rule['expr'], 'promql')}\n**At once:** {_plain(says['action'])}\n"
    )


def _plain(text: str) -> str:
    """Prometheus's own templates would read as one of ours."""
    for given, shown in (
        ("{{ $labels.sink }}", "*sink*"),
        ("{{ $labels.source }}", "*source*"),
        ("{{ $labels.outcome }}", "*outcome*"),
        ("{{ $labels.state }}", "*state*"),
        ("{{ $labels.reason }}", "*reason*"),
        ("{{ $labels.kind }}", "*kind*"),
        ("{{ $labels.instance }}", "*instance*"),
        ("{{ $labels.cluster }}", "*cluster*"),
        ("{{ $value | humanizeDuration }}", "*so long*"),
        ("{{ $value | humanize1024 }}", "*so many* "),
        ("{{ $value }}", "*so many*"),
    ):
        text = text.replace(given, shown)
    return text
