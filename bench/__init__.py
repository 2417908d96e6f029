"""What gqlplugin must reach, measured side by side with a peer in one run: `python -m bench`."""
