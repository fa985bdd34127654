"""The loop, where its trials run, and the store that keeps them."""
