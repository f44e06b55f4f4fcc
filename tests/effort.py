"""How many examples a property is tried with: few where every commit waits for it, many in `make properties`."""

from __future__ import annotations

import os

_TIMES = 20 if os.environ.get("RELAY_LONG") else 1


def effort(examples: int) -> int:
    """So many in `make test`, twenty times as many in the long form."""
    return examples * _TIMES
