"""Arithmetic that TensorFlow does in more passes, and the loop over time."""
