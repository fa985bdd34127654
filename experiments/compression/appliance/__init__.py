"""The appliance use case: the five-layer 1D-CNN on power traces, one study with a goal per split of the data."""
