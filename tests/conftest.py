"""Fixtures for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests import postgres

pytest_plugins = ["tests.brokers", "tests.patience"]

settings.register_profile("relay", deadline=None)  # a busy machine is no failure
settings.load_profile("relay")


@pytest.hookimpl(tryfirst=True)  # before xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those that need a broker share one process, and so one broker."""
    for item in items:
        if item.get_closest_marker("kafka") is not None:
            item.add_marker(pytest.mark.xdist_group("kafka"))


def pytest_unconfigure() -> None:
    """The PostgreSQL servers that tests have shared end with the run."""
    postgres.close()
