"""The comparison of the ARS-MOBOpt paper on our scale: the configuration, the figure and the claims."""
