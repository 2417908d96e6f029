"""The embedded platform: a journal in one SQLite file."""
