"""Arithmetic that TensorFlow does in more passes."""
