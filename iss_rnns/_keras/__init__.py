"""The one package that knows which Keras is there, and its insides.

Everything else asks these functions and touches no private name of Keras.
Behind them is Keras 2 (`tf.keras` of TensorFlow 2.15, or tf_keras) or Keras 3
on TensorFlow.

Keras 3 wraps TensorFlow's variables in its own. The library computes with
TensorFlow's: whatever lets variables in (groups, callbacks, shrinking) takes
what is in them by `inner`, once, and remembers the path that they have in
Keras as their name.
"""

from iss_rnns._keras.attachments import add_hook
from iss_rnns._keras.attachments import add_penalty
from iss_rnns._keras.attachments import attached
from iss_rnns._keras.attachments import detach
from iss_rnns._keras.attachments import rebuild_step
from iss_rnns._keras.attributes import plain
from iss_rnns._keras.calls import forgotten_calls
from iss_rnns._keras.calls import intercepted_calls
from iss_rnns._keras.calls import noted_initial_states
from iss_rnns._keras.calls import sketched
from iss_rnns._keras.calls import zero_weights
from iss_rnns._keras.checkpoints import keep_in_checkpoints
from iss_rnns._keras.checkpoints import kept
from iss_rnns._keras.copies import bare_layer
from iss_rnns._keras.copies import bare_model
from iss_rnns._keras.copies import compile_like
from iss_rnns._keras.copies import copied_function
from iss_rnns._keras.copies import is_compiled
from iss_rnns._keras.copies import own_attributes
from iss_rnns._keras.graphs import ends
from iss_rnns._keras.graphs import has_declared_inputs
from iss_rnns._keras.graphs import input_names
from iss_rnns._keras.graphs import input_specs
from iss_rnns._keras.graphs import is_graph
from iss_rnns._keras.graphs import is_symbolic
from iss_rnns._keras.graphs import new_input
from iss_rnns._keras.graphs import Step
from iss_rnns._keras.graphs import steps
from iss_rnns._keras.layers import all_layers
from iss_rnns._keras.layers import children
from iss_rnns._keras.layers import compile_on_request
from iss_rnns._keras.layers import equal_directions
from iss_rnns._keras.layers import has_fixed_sizes
from iss_rnns._keras.layers import is_function
from iss_rnns._keras.layers import is_lambda
from iss_rnns._keras.layers import is_layer
from iss_rnns._keras.layers import is_operation
from iss_rnns._keras.layers import is_stock
from iss_rnns._keras.layers import replace_layer
from iss_rnns._keras.layers import rnn_inputs
from iss_rnns._keras.optimizers import averages_weights
from iss_rnns._keras.optimizers import Hook
from iss_rnns._keras.optimizers import hook_optimizer
from iss_rnns._keras.optimizers import hooks_of
from iss_rnns._keras.optimizers import learning_rate
from iss_rnns._keras.optimizers import replace_optimizer
from iss_rnns._keras.optimizers import replicas
from iss_rnns._keras.optimizers import scales
from iss_rnns._keras.optimizers import updates
from iss_rnns._keras.slots import build_slots
from iss_rnns._keras.slots import mark_built
from iss_rnns._keras.version import check_backend
from iss_rnns._keras.version import require_2
from iss_rnns._keras.version import VERSION
from iss_rnns._keras.weights import array
from iss_rnns._keras.weights import handle
from iss_rnns._keras.weights import handles
from iss_rnns._keras.weights import inner
from iss_rnns._keras.weights import is_variable
from iss_rnns._keras.weights import key
from iss_rnns._keras.weights import name
from iss_rnns._keras.weights import own_weights
from iss_rnns._keras.weights import states_of
from iss_rnns._keras.weights import trainable
from iss_rnns._keras.weights import unique_names
from iss_rnns._keras.weights import variables
