"""Where runs are kept and jobs run."""
