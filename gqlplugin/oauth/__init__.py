"""Tokens that the app issues itself, and where machine users get theirs."""
