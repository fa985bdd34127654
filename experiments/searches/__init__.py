"""Whole searches from a config to a published front."""
