"""Databases for the tests of record events, of both kinds."""

from tests.postgres import database_url, postgres, postgres_url, sqlite_url

__all__ = ["database_url", "postgres", "postgres_url", "sqlite_url"]
