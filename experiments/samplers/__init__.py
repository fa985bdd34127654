"""Which sampler finds the front in the fewest evaluations?"""
