"""One episode over the layers of one network: the environment, its choices, walls, targets, features, rewards."""
