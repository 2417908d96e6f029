"""Pydantic models as GraphQL sees them: read once, checked, and given names, before Strawberry gets them."""
