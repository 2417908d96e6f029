"""The shop's GraphQL fields."""
