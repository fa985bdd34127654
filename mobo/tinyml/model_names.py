"""The names of the files in ``models/<trial>/``, in one place; importing them imports nothing else."""

POLICY = "policy.json"
"""What was done to the network: a CompressionPolicy."""

GRAPH = "graph.json"
"""The layers of the compressed network: a LayerGraph."""

COST = "cost.json"
"""What it costs on the study's device: a Cost."""

QUANTISED = "quantised.npz"
"""The integer network: a QuantisedNetwork."""

FRONT_END = "front_end.json"
"""What stands before the network, as work for the chip; there where the study counts it: a FrontEndWork."""

TRAINED = "trained.safetensors"
"""The float weights before compression."""

COMPRESSED = "compressed.safetensors"
"""The float weights after pruning and fine-tuning."""

AGENT = "agent.pt"
"""What the agent that chose the policy had learned by then, for ``compression.warm_start``; only with some methods."""

VERIFICATION = "verify.json"
"""What verifying its export found, here and in the exported folder; there once somebody did: a Verification."""

MISTAKES = "mistakes.json"
"""Which classes it took for which on the test split; there once that was read: a Mistakes."""

OWNER = "study.json"
"""Which trial of which study the model is of (:mod:`mobo.runs.identity`); not in folders of earlier versions."""

INPUT = "input.json"
"""How raw inputs are standardised, what the classes are called, and all hyperparameters."""
