"""Is a network that deep compression made many times smaller as good as it was? One study with a goal per network."""
