"""Databases of an app: sessions for resolvers and jobs, and what starts when their changes commit."""

from gqlplugin.errors import missing_extra

try:
    import sqlalchemy.ext.asyncio  # noqa: F401 - to say what is missing, before anything fails in its own words
except ImportError as error:
    raise missing_extra("A database", "sqlalchemy", error) from error

from gqlplugin.database.definition import Database, define_database, get_db
from gqlplugin.database.outbox import metadata
from gqlplugin.database.record_changes import publish

__all__ = ["Database", "define_database", "get_db", "metadata", "publish"]
