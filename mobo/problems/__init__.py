"""What a study can optimise: each module holds one problem behind :class:`mobo.problem.Problem`."""
