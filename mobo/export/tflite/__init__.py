"""The quantised network as a tflite file."""
