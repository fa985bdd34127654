"""What changes a network's structure: channel groups, pruning, low rank, replacement, sparsity."""
