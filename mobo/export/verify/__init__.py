"""Proof on the desk that an exported model computes what was promised and costs what was predicted."""
