"""Memory that a step's function leaves when the step is built anew."""

import gc

from tensorflow.python.eager import context


def free_former_steps() -> None:
    """Frees what nothing reaches any more, at once.

    Graphs and the weights that they read are in circles, which Python lets
    pile up over several cuts. And TensorFlow keeps the kernel that made a
    variable, with the variable's name, for ever; those in use come back.
    """
    gc.collect()
    context.context().clear_kernel_cache()
