"""The shop's workflows, one module each; their jobs are in `jobs`."""
