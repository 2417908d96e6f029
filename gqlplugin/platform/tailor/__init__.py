"""The Tailor Platform over HTTP: runs are kept, and jobs run, by a server that speaks its contract (TAILOR.md)."""
