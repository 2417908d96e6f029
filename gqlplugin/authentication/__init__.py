"""Who is calling: what `authenticate=` gets and returns, and authenticators that are ready-made."""
