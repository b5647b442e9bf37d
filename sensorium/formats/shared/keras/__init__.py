"""Keras models from their description and weights, as ONNX."""
