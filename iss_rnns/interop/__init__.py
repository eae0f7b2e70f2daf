"""The authors' names, settings files and TensorFlow 1 checkpoints."""
