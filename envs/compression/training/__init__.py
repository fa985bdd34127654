"""Short trainings of a compressed network: recovery, masks, weights and tensors on their grids."""
