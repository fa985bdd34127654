"""The layer graph and what reads it: torch modules, tflite files, layer tables."""
