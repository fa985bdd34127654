"""Networks that were trained elsewhere, read from the file that another tool wrote: ``.tflite`` and ``.onnx``."""
