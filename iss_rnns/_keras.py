"""The one module that knows which Keras is there, and its insides.

Everything else asks these functions and touches no private name of Keras.
Behind them is Keras 2 (`tf.keras` of TensorFlow 2.15, or tf_keras) or Keras 3
on TensorFlow.

Keras 3 wraps TensorFlow's variables in its own. The library computes with
TensorFlow's: whatever lets variables in (groups, callbacks, shrinking) takes
what is in them by `inner`, once, and remembers the path that they have in
Keras as their name.

What callbacks put on a model in training (penalties that join its loss, hooks
on its optimizer's updates) is noted on the model: `fit` says when it ends, but
not when an exception ends it. So the model's next `fit` begins by taking away
whatever is left, also from an optimizer that `compile` has replaced.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
import contextlib
import functools
from typing import Any, Callable, Optional, Protocol

import tensorflow as tf

from iss_rnns import errors

# Of what is called `tf.keras` in this process: TensorFlow's own or tf_keras
# (2), or Keras 3.
VERSION = (
    3 if tf.keras.layers.Layer.__module__.startswith("keras.src.layers") else 2
)

_PATH = "_iss_path"
_ATTACHED = "_iss_attached"
_HOOKS = "_iss_hooks"
# What `add_variable_from_reference` calls the variable that a slot is of.
_OWNER = "model_variable" if VERSION == 2 else "reference_variable"


class Hook(Protocol):
    """What acts inside an optimizer's update; see `callbacks.UpdateHook`."""

    def before_update(self, gradients: list) -> list: ...

    def during_update(self, optimizer) -> Optional[dict]: ...

    def after_update(self) -> None: ...

    def zeros(self) -> Iterable[tuple[tf.Variable, tf.Tensor]]: ...


def check_backend(name: str) -> None:
    """Refuses what Keras 3 computes with, if it is not TensorFlow.

    Raises:
      UserError: naming the setting.
    """
    if name != "tensorflow":
        raise errors.UserError(
            "iss-rnns needs Keras on TensorFlow, and this process has Keras "
            f"on {name}: set KERAS_BACKEND=tensorflow before Keras is imported"
        )


if VERSION == 3:
    check_backend(tf.keras.config.backend())


def require_2(what: str) -> None:
    """Refuses Keras 3 for what knows Keras 2 only.

    Raises:
      UserError: saying so.
    """
    if VERSION == 3:
        raise errors.UserError(
            f"{what} on Keras 2 only, and this process has Keras 3: set "
            "TF_USE_LEGACY_KERAS=1 before TensorFlow is imported, or say the "
            "groups with iss_group"
        )


def inner(variable) -> tf.Variable:
    """TensorFlow's variable in one of Keras 3; any other as it is."""
    found = getattr(variable, "_value", None)
    if not (hasattr(variable, "path") and isinstance(found, tf.Variable)):
        return variable
    object.__setattr__(found, _PATH, variable.path)
    return found


def name(variable) -> str:
    """A variable's full name: in Keras 3 its path, else without its number."""
    path = getattr(variable, "path", None) or getattr(variable, _PATH, None)
    return path or variable.name.partition(":")[0]


def trainable(model) -> list[tf.Variable]:
    """What gradients change of a model, layer or cell."""
    return [inner(each) for each in model.trainable_variables]


def variables(model) -> list[tf.Variable]:
    """All weights of a model, layer or cell, trained or not.

    Keras 3 has metrics and seeds among its `variables`.
    """
    return [
        inner(each)
        for each in (model.variables if VERSION == 2 else model.weights)
    ]


def key(variable: tf.Variable) -> Hashable:
    """What a dict knows a variable by."""
    return inner(variable).ref()


def is_variable(thing: object) -> bool:
    """Whether something is a variable, Keras' or TensorFlow's."""
    return isinstance(inner(thing), tf.Variable)


def array(variable: tf.Variable):
    """A variable's value."""
    return variable.numpy()


def handle(variable: tf.Variable) -> tf.Tensor:
    """What TensorFlow's raw operations know a variable by."""
    return inner(variable).handle


def unique_names(variables: Iterable[tf.Variable]) -> list[str]:
    """The variables' names; of equal ones the later get a number."""
    names: dict[str, int] = {}
    result = []
    for variable in variables:
        full = name(variable)
        names[full] = names.get(full, 0) + 1
        result.append(full if names[full] == 1 else f"{full}_{names[full]}")
    return result


# What callbacks put on a model, and how it leaves again.


class _Attached:
    """What was put on a model.

    Attributes:
      undo: what takes it away, by who put it there.
      penalties: those that have joined the loss, as Keras holds them.
      restore: functions that give the model its own methods back.
    """

    def __init__(self):
        self.undo: dict[object, Callable[[], None]] = {}
        self.penalties: list[Callable] = []
        self.restore: list[Callable[[], None]] = []


def attached(model: tf.keras.Model, owner: object) -> bool:
    """Whether a callback has put something on the model."""
    known = _attached_to(model)
    return known is not None and owner in known.undo


def add_penalty(
    model: tf.keras.Model, owner: object, penalty: Callable[[], tf.Tensor]
) -> None:
    """Has a penalty join the model's loss until `detach(model, owner)`.

    Args:
      model: compiled or not.
      owner: of the penalty; what it has joined already does not join again.
      penalty: function of no arguments, evaluated in every step's graph.
    """
    if attached(model, owner):
        return
    # Keras 2 takes functions, and wraps them; Keras 3 does not, see `_note`.
    losses: list[Callable] = []
    joined = penalty
    if VERSION == 2:
        model.add_loss(penalty)
        losses = model._callable_losses
        joined = losses[-1]

    def leave():
        known.penalties.remove(joined)
        if joined in losses:
            losses.remove(joined)
        _renew_step(model)

    known = _note(model, owner, leave)
    known.penalties.append(joined)
    _renew_step(model)


def add_hook(model: tf.keras.Model, hook: Hook) -> None:
    """Has a hook act in the model's updates until `detach(model, hook)`."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:  # a model that is only evaluated
        return
    hook_optimizer(optimizer, hook)
    if attached(model, hook):
        return

    def leave():
        for each in (optimizer, model.optimizer):
            _unhook(each, hook)
        _renew_step(model)

    _note(model, hook, leave)
    _renew_step(model)


def detach(model: tf.keras.Model, owner: object) -> None:
    """Takes away what a callback put on the model, if it did."""
    known = _attached_to(model)
    if known is None:
        return
    undo = known.undo.pop(owner, None)
    if undo is not None:
        undo()
    if not known.undo:
        for restore in known.restore:
            restore()
        vars(model).pop(_ATTACHED)


def _attached_to(model) -> Optional[_Attached]:
    return vars(model).get(_ATTACHED)


def _note(model, owner, undo) -> _Attached:
    known = _attached_to(model)
    if known is None:
        known = _Attached()
        _replace(model, _ATTACHED, known)
        changes = {
            "fit": _cleaning,
            **(
                {"_trackable_children": _saving}
                if VERSION == 2
                else {"_get_own_losses": _penalized}
            ),
        }
        for method, change in changes.items():
            changed = change(model, getattr(model, method))
            known.restore.append(_replace(model, method, changed))
    known.undo[owner] = undo
    return known


def _cleaning(model, fit):
    """A model's `fit`, beginning with what its own callbacks ask for."""

    @functools.wraps(fit)
    def clean_fit(*args, **kwargs):
        known = _attached_to(model)
        for owner in list(known.undo) if known else ():
            detach(model, owner)
        return fit(*args, **kwargs)

    return clean_fit


def _penalized(model, own_losses):
    """What a model of Keras 3 itself adds to the loss, with the penalties."""

    @functools.wraps(own_losses)
    def with_penalties():
        known = _attached_to(model)
        penalties = known.penalties if known else []
        return [*own_losses(), *(penalty() for penalty in penalties)]

    return with_penalties


def _saving(model, children):
    """What of a model is saved: in a SavedModel, its loss without penalties.

    They would stay in it for ever.
    """

    @functools.wraps(children)
    def without_penalties(save_type="checkpoint", **kwargs):
        known, losses = _attached_to(model), model._callable_losses
        all_losses = list(losses)
        if known and save_type == "savedmodel":
            losses[:] = [f for f in losses if f not in known.penalties]
        try:
            return children(save_type, **kwargs)
        finally:
            losses[:] = all_losses

    return without_penalties


def _replace(thing, name: str, value) -> Callable[[], None]:
    """Sets an attribute, and gives what sets it back.

    Not by plain assignment: Keras would track the value, and try to put it
    into checkpoints.
    """
    attributes = vars(thing)
    before = {name: attributes[name]} if name in attributes else {}
    object.__setattr__(thing, name, value)

    def restore():
        if attributes.get(name) is value:
            del attributes[name]
            attributes.update(before)

    return restore


# The functions of a step.


def _renew_step(model: tf.keras.Model) -> None:
    """Has the next `fit` and `evaluate` build their functions anew."""
    model.train_function = None
    model.test_function = None


def rebuild_step(model: tf.keras.Model) -> None:
    """Builds the train function anew, in the middle of `fit`.

    The functions of evaluation and prediction follow at their next use.
    """
    _renew_step(model)
    model.predict_function = None
    model.make_train_function()


# Optimizers.


class _Hooked:
    """Hooks on an optimizer, and what gives it its own methods back."""

    def __init__(self):
        self.hooks: list[Hook] = []
        self.restore: list[Callable[[], None]] = []


def hooks_of(model: tf.keras.Model) -> list[Hook]:
    """Hooks on the model's updates, in the order in which they act."""
    optimizer = getattr(model, "optimizer", None)
    known = None if optimizer is None else vars(optimizer).get(_HOOKS)
    return [] if known is None else list(known.hooks)


def hook_optimizer(optimizer, hook: Hook) -> None:
    """Puts a hook on an optimizer, behind those already there."""
    known = vars(optimizer).get(_HOOKS)
    if known is None:
        known = _Hooked()
        for name, hooked in (
            ("apply_gradients", _hooked_update),
            ("finalize_variable_values", _hooked_averages),
        ):
            plain = getattr(optimizer, name, None)
            if plain is not None:
                value = hooked(optimizer, plain, known.hooks)
                known.restore.append(_replace(optimizer, name, value))
        _replace(optimizer, _HOOKS, known)
    if hook not in known.hooks:
        known.hooks.append(hook)


def _unhook(optimizer, hook: Hook) -> None:
    known = vars(optimizer).get(_HOOKS)
    if known is not None and hook in known.hooks:
        known.hooks.remove(hook)
        if not known.hooks:
            for restore in known.restore:
                restore()
            vars(optimizer).pop(_HOOKS)


def replace_optimizer(model: tf.keras.Model, optimizer) -> None:
    """Gives a model in training another optimizer; hooks move over to it."""
    for hook in hooks_of(model):
        _unhook(model.optimizer, hook)
        hook_optimizer(optimizer, hook)
    model.optimizer = optimizer


def _hooked_update(optimizer, apply_gradients, hooks):
    @functools.wraps(apply_gradients)
    def apply(grads_and_vars, *args, **kwargs):
        pairs = list(grads_and_vars)
        keras = {key(variable): variable for _, variable in pairs}
        gradients = [(g, inner(variable)) for g, variable in pairs]
        for hook in hooks:
            gradients = hook.before_update(gradients)
        after = list(hooks)
        # Hooks behind the first must find the weights as updated.
        fused = after[0].during_update(optimizer) if after else None
        if fused is not None:
            kwargs.update(fused)
            del after[0]
        result = apply_gradients(
            [(g, keras[key(variable)]) for g, variable in gradients],
            *args,
            **kwargs,
        )
        for hook in after:
            hook.after_update()
        return result

    return apply


def _hooked_averages(optimizer, finalize, hooks):
    @functools.wraps(finalize)
    def finalize_with_zeros(var_list):
        """Variables := averages, but what hooks keep zero is zero in both."""
        zeros = (
            [pair for hook in hooks for pair in hook.zeros()]
            if averages_weights(optimizer)
            else []
        )
        finalize(var_list)
        for variable, zero in zeros:
            for each in (variable, _average_of(optimizer, variable)):
                if each is not None:
                    gone = zero & ~tf.math.is_nan(each)
                    each.assign(tf.where(gone, tf.zeros_like(each), each))

    return finalize_with_zeros


def averages_weights(optimizer) -> bool:
    """Whether it ends training with averages of the weights (`use_ema`)."""
    return bool(getattr(optimizer, "use_ema", False))


def _average_of(optimizer, variable: tf.Variable) -> Optional[tf.Variable]:
    optimizer = _inner(optimizer)
    places = getattr(
        optimizer,
        "_index_dict" if VERSION == 2 else "_trainable_variables_indices",
        {},
    )
    place = places.get(optimizer._var_key(variable))
    if place is None:
        return None
    return inner(optimizer._model_variables_moving_average[place])


def _inner(optimizer):
    """The optimizer below a scaling of the loss (mixed precision)."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def mark_built(optimizer) -> None:
    """Notes that an optimizer has made its variables."""
    if VERSION == 2:
        optimizer._built = True
    else:
        optimizer.built = True


def build_slots(
    optimizer, variables: Sequence[tf.Variable]
) -> list[Optional[tf.Variable]]:
    """Builds an optimizer, and says whose slots its variables are.

    Args:
      optimizer: not built yet.
      variables: what it will update.

    Returns:
      For each of `optimizer.variables` the one that it belongs to; None of
      the step's number, the learning rate and the like.
    """
    owners: dict[Hashable, tf.Variable] = {}
    with _recorded_slots(_inner(optimizer), owners):
        optimizer.build(variables)
    return [owners.get(key(each)) for each in optimizer.variables]


@contextlib.contextmanager
def _recorded_slots(optimizer, owners) -> Iterator[None]:
    add = optimizer.add_variable_from_reference

    @functools.wraps(add)
    def recorded(*args, **kwargs):
        owner = args[0] if args else kwargs[_OWNER]
        slot = add(*args, **kwargs)
        owners[key(slot)] = inner(owner)
        return slot

    restore = _replace(optimizer, "add_variable_from_reference", recorded)
    try:
        yield
    finally:
        restore()


# Training state that is no weight of the model.


class _State(tf.Module):
    """Variables in checkpoints, as a list's, but in no saved model."""

    def __init__(self, variables: dict[Hashable, tf.Variable]):
        super().__init__()
        for i, variable in enumerate(variables.values()):
            setattr(self, str(i), variable)
        # Plain: nothing of them is to be tracked twice.
        _replace(self, "by_key", dict(variables))

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        if save_type != "checkpoint":
            return {}
        return super()._trackable_children(save_type, **kwargs)


def keep_in_checkpoints(
    model: tf.keras.Model, name: str, variables: dict[Hashable, tf.Variable]
) -> None:
    """Makes variables part of the model's `tf.train.Checkpoint`, no more.

    They become the model's attribute `name`, and `<model>/<name>/<number>` in
    a checkpoint, as if a list of them had been assigned; one that was read
    before fills them. The model's weights, its files of weights and its saved
    models are without them.

    Args:
      model: the model.
      name: see above.
      variables: by what `kept` finds them by.
    """
    state = _State(variables)
    model._track_trackable(state, name, overwrite=True)
    _replace(model, name, list(variables.values()))


def kept(model: tf.keras.Model, name: str) -> dict[Hashable, tf.Variable]:
    """What `keep_in_checkpoints` was given; nothing before it."""
    state = model._lookup_dependency(name)
    return state.by_key if isinstance(state, _State) else {}


# Layers.


def rnn_inputs(layer: tf.keras.layers.RNN, inputs, initial_state, constants):
    """What a Keras layer runs its cell on.

    Args:
      layer: the layer.
      inputs: of its call; a list, if states and constants come with it.
      initial_state: of its call, or None.
      constants: of its call, or None.

    Returns:
      (inputs, initial states, constants): those given, those that a stateful
      layer carries, or zeros.
    """
    if VERSION == 2:
        return layer._process_inputs(inputs, initial_state, constants)
    if initial_state is None:
        initial_state = (
            layer.states
            if layer.stateful
            else layer.get_initial_state(batch_size=tf.shape(inputs)[0])
        )
    return inputs, tf.nest.flatten(initial_state), constants


def compile_on_request(layer: tf.keras.layers.Layer) -> None:
    """Has a model with this layer run without XLA, unless it is asked for.

    Keras 3 asks for it by default, but not with a stock LSTM either.
    """
    if VERSION == 3:
        layer.supports_jit = False


def replace_layer(model: tf.keras.Model, name: str, layer) -> None:
    """Gives a model another layer in an attribute's place.

    Keras 3 would go on to count the weights of the one that was there.
    """
    if VERSION == 2:
        setattr(model, name, layer)
        return
    tracker = model._tracker
    tracker.untrack(getattr(model, name))
    locked, tracker.locked = tracker.locked, False  # once a model is built
    setattr(model, name, layer)
    tracker.locked = locked


# What models are made of.


@contextlib.contextmanager
def intercepted_calls(handler: Callable) -> Iterator[None]:
    """Has every call of a Keras layer go through a function, in this block.

    Args:
      handler: `handler(call, layer, args, kwargs)` returns what the layer
        gives; `call(layer, *args, **kwargs)` is Keras' own.
    """
    kind = tf.keras.layers.Layer
    call = kind.__call__

    @functools.wraps(call)
    def intercepted(layer, *args, **kwargs):
        return handler(call, layer, args, kwargs)

    kind.__call__ = intercepted
    try:
        yield
    finally:
        kind.__call__ = call


@contextlib.contextmanager
def sketched(layer: tf.keras.layers.Layer) -> Iterator[None]:
    """A stock recurrent layer's call gives zeros of the right shapes here.

    Of a model that is only looked at: to write down the loop of an LSTM, once
    for each kind of device, takes longer than everything else together.
    """
    layers = tf.keras.layers
    stock = [layers.LSTM, layers.GRU, layers.SimpleRNN, layers.RNN]
    if (
        "call" in vars(layer)
        or not any(
            isinstance(layer, kind) and type(layer).call is kind.call
            for kind in stock
        )
        or not all(
            isinstance(n, int) for n in tf.nest.flatten(layer.cell.state_size)
        )
    ):
        yield
        return

    @tf.autograph.experimental.do_not_convert
    def call(inputs, *args, **kwargs):
        del args, kwargs
        values = tf.nest.flatten(inputs)[0]
        cell = layer.cell
        sizes = tf.nest.flatten(cell.state_size)
        last = getattr(cell, "output_size", None) or sizes[0]
        dynamic = tf.shape(values)
        batch = values.shape[int(layer.time_major)]
        lead = dynamic[:2]
        batch_only = dynamic[1:2] if layer.time_major else dynamic[:1]
        whole = layer.return_sequences
        output = tf.zeros(
            tf.concat([lead if whole else batch_only, [last]], 0),
            layer.compute_dtype,
        )
        output.set_shape(values.shape[:2] + [last] if whole else [batch, last])
        states = []
        for n in sizes:
            state = tf.zeros(
                tf.concat([batch_only, [n]], 0), layer.compute_dtype
            )
            state.set_shape([batch, n])
            states.append(state)
        return [output, *states] if layer.return_state else output

    restore = _replace(layer, "call", call)
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def zero_weights() -> Iterator[None]:
    """New weights are zeros in this block, which takes no time to draw."""
    kind = tf.keras.layers.Layer
    add_weight = kind.add_weight

    @functools.wraps(add_weight)
    def add_zeros(layer, *args, **kwargs):
        kwargs["initializer"] = "zeros"
        return add_weight(layer, *args[:3], **kwargs)

    kind.add_weight = add_zeros
    try:
        yield
    finally:
        kind.add_weight = add_weight


def children(layer: tf.keras.layers.Layer) -> list[tf.keras.layers.Layer]:
    """The layers that a layer or model holds itself, in order."""
    return list(layer._flatten_layers(recursive=False, include_self=False))


def all_layers(
    model: tf.keras.layers.Layer,
) -> Iterator[tf.keras.layers.Layer]:
    """A model, and every layer in it, each once."""
    seen: set[int] = set()

    def visit(layer):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer
            for child in children(layer):
                yield from visit(child)

    yield from visit(model)


@contextlib.contextmanager
def noted_initial_states(
    cells: Iterable[tf.keras.layers.Layer],
    note: Callable[[tf.keras.layers.Layer, list], None],
) -> Iterator[None]:
    """Has a function told of the states that cells make to begin with."""
    restore = []
    for cell in cells:
        make = getattr(cell, "get_initial_state", None)
        if make is None:
            continue

        @functools.wraps(make)
        def noted(*args, _cell=cell, _make=make, **kwargs):
            states = _make(*args, **kwargs)
            note(_cell, tf.nest.flatten(states))
            return states

        restore.append(_replace(cell, "get_initial_state", noted))
    try:
        yield
    finally:
        for undo in restore:
            undo()


def own_weights(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """The weights that a layer holds itself, not those of its layers.

    What has no shape, such as the table of a vocabulary, is none.
    """
    return [
        v
        for v in layer._trainable_weights + layer._non_trainable_weights
        if hasattr(v, "shape") and hasattr(v, "dtype")
    ]


def input_specs(model: tf.keras.Model):
    """What a model is called with, as (args, kwargs) of specs; None: unknown.

    Sizes that may change from call to call are None.
    """
    try:
        specs = model.save_spec()
    except AttributeError:
        return None
    if specs is None:
        return None
    args, kwargs = specs
    return list(args), dict(kwargs)


def is_layer(thing: object) -> bool:
    """Whether something is a layer or model of Keras."""
    return isinstance(thing, tf.keras.layers.Layer)


def is_graph(model: tf.keras.layers.Layer) -> bool:
    """Whether a layer is a model whose layers' connections Keras knows."""
    return bool(getattr(model, "_is_graph_network", False)) and bool(
        getattr(model, "inputs", None)
    )


def has_declared_inputs(model: tf.keras.Sequential) -> bool:
    """Whether a sequential model was told its inputs, before any came."""
    return bool(getattr(model, "_has_explicit_input_shape", True))


def is_stock(layer: tf.keras.layers.Layer) -> bool:
    """Whether a layer's class is one of Keras'."""
    root = tf.keras.layers.Layer.__module__.split(".")[0]
    return type(layer).__module__.split(".")[0] == root


def is_function(layer: tf.keras.layers.Layer) -> bool:
    """Whether a layer is a function of TensorFlow, or a `Lambda`."""
    return is_operation(layer) or type(layer) is tf.keras.layers.Lambda


def is_lambda(layer: Any) -> bool:
    """Whether a layer is a `Lambda`, whose numbers cannot be changed."""
    return type(layer) is tf.keras.layers.Lambda


def is_operation(layer: tf.keras.layers.Layer) -> bool:
    """Whether Keras made a layer of a TensorFlow function that it met."""
    return type(layer).__module__.endswith(".tf_op_layer")


def copied_function(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """A copy of a layer of which `is_function` holds."""
    if type(layer) is tf.keras.layers.Lambda:
        return tf.keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            name=layer.name,
            trainable=layer.trainable,
            dtype=layer.dtype_policy
            if hasattr(layer, "dtype_policy")
            else None,
        )
    return type(layer).from_config(layer.get_config())


class Step:
    """A layer's place in a functional model.

    Attributes:
      layer: that is called.
      arguments: (args, kwargs), with symbolic tensors in them.
      outputs: symbolic tensors, flat.
    """

    def __init__(self, layer, arguments, outputs):
        self.layer = layer
        self.arguments = arguments
        self.outputs = outputs


def steps(model: tf.keras.Model) -> Iterator[Step]:
    """The calls of a functional model's layers, in an order that works."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                yield Step(
                    node.layer,
                    (node.call_args, node.call_kwargs),
                    tf.nest.flatten(node.outputs),
                )


def is_symbolic(thing: object) -> bool:
    """Whether something is a tensor of a functional model."""
    return hasattr(thing, "_keras_history")


def ends(model: tf.keras.Model):
    """(inputs, outputs) of a functional model, in their structures."""
    return model._nested_inputs, model._nested_outputs


def new_input(tensor, shape):
    """An input of a functional model like another, of another shape.

    Args:
      tensor: the other.
      shape: with the batch.
    """
    layer = tensor._keras_history.layer
    return tf.keras.Input(
        batch_shape=tuple(shape),
        name=layer.name,
        dtype=tensor.dtype,
        sparse=layer.sparse,
        ragged=layer.ragged,
    )


def bare_model(model: tf.keras.Model, *args, **kwargs) -> tf.keras.Model:
    """A model of another's class, without running the class' `__init__`.

    Args:
      model: the other.
      *args: of `tf.keras.Model`.
      **kwargs: the same.
    """
    cls: Any = type(model)
    new: Any = cls.__new__(cls, *args, **kwargs)
    bases = [tf.keras.Model]
    if args:  # Keras made the class one of functional models
        bases = [c for c in cls.__mro__ if c.__name__ == "Functional"] + bases
    bases[0].__init__(new, *args, name=model.name, **kwargs)
    return new


def bare_layer(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """A layer of another's class, without running the class' `__init__`."""
    cls: Any = type(layer)
    new = cls.__new__(cls)
    config = {"name": layer.name, "dtype": layer.dtype}
    base = (
        tf.keras.layers.AbstractRNNCell
        if isinstance(layer, tf.keras.layers.AbstractRNNCell)
        else tf.keras.layers.Layer
    )
    base.__init__(new, **config)
    return new


def own_attributes(layer: tf.keras.layers.Layer) -> dict[str, object]:
    """Attributes that a user's class gave a layer, but for Keras' own."""
    known = set(vars(_blank("layer")))
    if isinstance(layer, tf.keras.Model):
        known |= set(vars(_blank("model")))
    if is_graph(layer):
        known |= set(vars(_blank("functional")))
    return {
        name: value
        for name, value in vars(layer).items()
        if name not in known and name not in _OF_KERAS
    }


@functools.cache
def _blank(kind: str):
    """A layer, or a compiled model, that has Keras' attributes only."""
    if kind == "layer":

        class Blank(tf.keras.layers.Layer):
            pass

        layer = Blank()
        layer(tf.zeros([1, 1]))
        return layer
    if kind == "functional":
        inputs = tf.keras.Input([1])
        functional = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(inputs))
        functional.compile("sgd", "mse")
        return functional

    class BlankModel(tf.keras.Model):
        def call(self, inputs):
            return inputs

    result = BlankModel()
    result.compile("sgd", "mse")
    result(tf.zeros([1, 1]))
    return result


_OF_KERAS = {
    "_auto_config",
    "_auto_get_config",
    "_build_input_shape",
    "_iss_attached",
    "_saved_model_inputs_spec",
    "_saved_model_arg_spec",
    "history",
    "loss",
    "optimizer",
    "train_function",
    "test_function",
    "predict_function",
    "train_tf_function",
    "stop_training",
    "steps_per_execution",
    "_is_compiled",
    "_call_spec",
    "call",
    "_obj_reference_counts_dict",
    "_self_unconditional_checkpoint_dependencies",
    "keras_api_names",
}


def plain(value: object) -> object:
    """What a list or dict was before Keras wrapped it to track it."""
    if isinstance(value, tf.__internal__.tracking.AutoTrackable):
        return value
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, tuple) and hasattr(value, "__wrapped__"):
        return value.__wrapped__
    return value


@contextlib.contextmanager
def forgotten_calls(layers: Iterable[tf.keras.layers.Layer]) -> Iterator[None]:
    """Symbolic calls of layers in this block leave no trace on them."""
    layers = list(layers)
    before = [
        (len(layer._inbound_nodes), len(layer._outbound_nodes))
        for layer in layers
    ]
    try:
        yield
    finally:
        for layer, (inbound, outbound) in zip(layers, before):
            del layer._inbound_nodes[inbound:]
            del layer._outbound_nodes[outbound:]


def states_of(layer: tf.keras.layers.Layer) -> list[tf.Variable]:
    """The states that a stateful layer carries from batch to batch."""
    if not getattr(layer, "stateful", False) or not hasattr(layer, "states"):
        return []
    return [v for v in tf.nest.flatten(layer.states) if is_variable(v)]


def compile_like(model: tf.keras.Model, source: tf.keras.Model, optimizer):
    """Compiles a model with what another was compiled with.

    Args:
      model: to compile.
      source: the other; its metrics are made anew.
      optimizer: of the model.
    """
    arguments = dict(source._compile_config.config)

    def renewed(thing):
        if isinstance(thing, tf.keras.metrics.Metric):
            return type(thing).from_config(thing.get_config())
        return thing

    for name in ("metrics", "weighted_metrics"):
        if arguments.get(name) is not None:
            arguments[name] = tf.nest.map_structure(renewed, arguments[name])
    model.compile(**{**arguments, "optimizer": optimizer})


def is_compiled(model: tf.keras.Model) -> bool:
    """Whether `compile` was called of a model."""
    return getattr(model, "_compile_config", None) is not None
