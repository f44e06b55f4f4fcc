"""Which store the tests of a folder use: a file in it, unless another was chosen."""

from __future__ import annotations

from pathlib import Path

_chosen: dict[Path, str] = {}


def store_url(folder: Path) -> str:
    """What `store` is in this folder's relay.yaml."""
    return _chosen.get(folder, f"sqlite:///{folder}/relay.db")


def choose_store(folder: Path, url: str) -> None:
    """Let it be this one from now on."""
    _chosen[folder] = url
