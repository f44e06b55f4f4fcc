"""Where commands print. Apart from what they print, so that `relay --version` need not know what a configuration is."""

from __future__ import annotations

from rich.console import Console

out = Console(soft_wrap=True, highlight=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
