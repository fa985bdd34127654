"""A table of trained designs: a benchmark that takes no training."""
