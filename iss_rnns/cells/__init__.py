"""Recurrent cells: their maths, and which of their weights belong to unit k.

A cell is a Keras cell (`tf.keras.layers.RNN` runs it) and also states its
maths in the pieces that `recurrent.Recurrent` runs fast:

- `hoist(inputs, *constants)`: what can be computed for all time steps at
  once,
- `scan_weights(*constants)`: the tensors that the time loop reads,
- `scan_step(z, states, weights)`: one step, and what its gradient needs,
- `backprop_weights(weights)`: what the loop back reads of them,
- `scan_backprop(doutput, dstates, saved, weights)`: one step back,
- `scan_weight_gradients(dzs, saved, weights)`: the products left after the
  loop.

Constants are tensors that stay the same over time (`RHNCell`'s masks).
"""

from iss_rnns.cells.common import iss_group
from iss_rnns.cells.gru import GRUCell
from iss_rnns.cells.highway import RHNCell
from iss_rnns.cells.lstm import LSTMCell
from iss_rnns.cells.simple import SimpleRNNCell

__all__ = ["GRUCell", "LSTMCell", "RHNCell", "SimpleRNNCell", "iss_group"]
