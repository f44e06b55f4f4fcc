"""Fixtures for tests of several parts together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.postgres import database_of
from tests.contract.stores import STORES
from tests.storing import choose_store


@pytest.fixture(params=STORES)
async def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Lets a test run over each kind of store."""
    if request.param == "postgres":
        choose_store(tmp_path, await database_of(tmp_path))
