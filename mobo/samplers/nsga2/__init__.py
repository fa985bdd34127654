"""NSGA-II with pymoo's operators."""
