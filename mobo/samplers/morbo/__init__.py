"""MORBO: several trust regions for several objectives."""
