"""The learning searches; the only door to stable-baselines3."""
