"""Which questions did we ask? Configs, and scripts that write what came out to ``results/``."""
