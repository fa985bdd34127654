"""TuRBO: one trust region around the best trial."""
