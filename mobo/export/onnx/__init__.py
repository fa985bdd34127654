"""The quantised network as an ONNX file with QDQ nodes."""
