"""Start durable workflows from typed Strawberry GraphQL resolvers."""
