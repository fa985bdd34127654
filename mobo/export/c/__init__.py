"""The C project: plain C without dependencies, generated from the quantised network."""
