"""The paper's sampler: augmented random search on an acquisition policy."""
