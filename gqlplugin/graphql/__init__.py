"""Resolvers and runs as GraphQL."""
