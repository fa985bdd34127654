"""From measurements to the coefficients of runtimes: the sourced table, the fit, cross-validation. Needs numpy.

Nothing here is imported when a cost is estimated.
"""
