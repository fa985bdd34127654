"""The words of every search: designs, objectives, trials, problems, fronts."""
