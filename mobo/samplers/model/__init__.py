"""What model-based samplers share: Gaussian processes, acquisition, its maximisation."""
