"""A network -> ONNX or Paddle inference model, and the proof that the file gives the same."""
