"""The one TinyML problem: from a design to a trained, compressed, costed network."""
