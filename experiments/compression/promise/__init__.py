"""Is a network that deep compression made many times smaller as good as it was? Five networks, each step resumable."""
