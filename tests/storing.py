"""Which store the tests of a folder use: a file in it, unless another was chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

_chosen: dict[Path, str] = {}
over_each_store = pytest.mark.usefixtures("each_store")
"""Runs a test once for each kind of store: tests/integration/conftest.py."""


def store_url(folder: Path) -> str:
    """What `store` is in this folder's relay.yaml."""
    return _chosen.get(folder, f"sqlite:///{folder}/relay.db")


def choose_store(folder: Path, url: str) -> None:
    """Let it be this one from now on."""
    _chosen[folder] = url
