"""The jobs that workflows trigger, one module each."""
