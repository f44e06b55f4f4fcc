"""Fixtures for tests of the whole program."""

from tests.integration.conftest import each_store

__all__ = ["each_store"]
