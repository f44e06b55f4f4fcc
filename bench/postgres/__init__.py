"""Measurements with a PostgreSQL server."""
