"""What every part stands on: errors, seeds, files written whole, locks, workers, TOML."""
