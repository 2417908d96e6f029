"""The embedded platform is killed at random, and loses and doubles nothing."""
