"""The smallest network of a run that is no worse than a float baseline, decided on the validation split."""
