"""A small shop: orders are placed through GraphQL, and processed by a durable workflow."""
