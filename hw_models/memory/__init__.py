"""Where tensors lie: arena plans of interpreters and of generated code."""
