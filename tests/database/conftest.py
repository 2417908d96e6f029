"""Databases for every test here, of both kinds."""

from tests.database.models import engine, kept_postgres_url, kept_url
from tests.postgres import database_url, postgres, postgres_url, sqlite_url

__all__ = ["database_url", "engine", "kept_postgres_url", "kept_url", "postgres", "postgres_url", "sqlite_url"]
