"""relay.yaml: the Options of all parts in one value, and every mistake in the file at once.

`load` for those who need a configuration, `check` for those who want to know what is wrong with it.
"""

from __future__ import annotations

from relay.config.address import Address, parse_address
from relay.config.loading import (
    Glance,
    Names,
    Rehearsal,
    Report,
    SinkKind,
    check,
    glance,
    load,
    load_store,
    names,
    rehearse,
)
from relay.config.model import Config, RetentionOptions, source_address, source_path
from relay.config.problems import InvalidConfig, Problem
from relay.config.sources import SourcesAndRoutes, load_sources
from relay.config.watch import Watch

__all__ = [
    "Address",
    "Config",
    "Glance",
    "InvalidConfig",
    "Names",
    "Problem",
    "Rehearsal",
    "Report",
    "RetentionOptions",
    "SinkKind",
    "SourcesAndRoutes",
    "Watch",
    "check",
    "glance",
    "load",
    "load_sources",
    "load_store",
    "names",
    "parse_address",
    "rehearse",
    "source_address",
    "source_path",
]
