"""The subcommands of `iss-rnns` for models in files, a module for each.

Each has `define_flags`, `main(argv)` and `start`, as every program. TensorFlow
is imported when the arguments are known to be right, and after the file has
said which Keras it needs.
"""
