"""The appliance use case: the five-layer 1D-CNN on power traces, pruned, quantised, and compressed by an agent."""
