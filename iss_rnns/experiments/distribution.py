"""Several devices, or several workers, that train one model together.

On `tf.distribute`: each replica holds all weights and takes its rows of every
batch; what they find is added up, so that all make the same updates, which are
those of one (see `iss_rnns.ops.replicas`). A worker is a process with a replica
or more. All compute, and decide alike; the first one alone, the chief, writes.

A process is in one such group for life, as TensorFlow has it: `join` is called
once, before anything is computed.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from iss_rnns import _keras
from iss_rnns import errors
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import stopping

WAIT_SECONDS = 120.0  # for workers that are not there yet
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Who trains together; the flags of the same names, or `TF_CONFIG`.

    Attributes:
      worker_hosts: `host:port` of each worker, the chief first.
      task_index: which of them this process is.
    """

    distribution_strategy: str = "off"
    num_replicas: Optional[int] = None
    worker_hosts: Sequence[str] = ()
    task_index: Optional[int] = None

    @classmethod
    def from_flags(cls, values: Mapping[str, Any]) -> "Settings":
        """Out of the values of all flags, by name, and the environment.

        Raises:
          UserError: they contradict each other.
        """
        settings = flags_lib.fill(
            cls, values, worker_hosts=tuple(values["worker_hosts"] or ())
        )
        kind = settings.distribution_strategy
        if kind != "off" and values["mode"] != "train":
            raise errors.UserError(
                f"--distribution_strategy={kind} is for --mode=train; "
                f"--mode={values['mode']} runs in one process"
            )
        if settings.num_replicas is not None and kind != "mirrored":
            raise errors.UserError(
                "--num_replicas needs --distribution_strategy=mirrored"
            )
        if kind != "multi_worker_mirrored":
            if settings.worker_hosts or settings.task_index is not None:
                raise errors.UserError(
                    "--worker_hosts and --task_index need "
                    "--distribution_strategy=multi_worker_mirrored"
                )
            return settings
        if not settings.worker_hosts and settings.task_index is None:
            hosts, index = _of_environment(os.environ.get("TF_CONFIG"))
            settings = dataclasses.replace(
                settings, worker_hosts=hosts, task_index=index
            )
        settings._check_workers()
        return settings

    def _check_workers(self) -> None:
        hosts, index = self.worker_hosts, self.task_index
        for host in hosts:
            name, _, port = host.rpartition(":")
            if not name or not port.isdecimal() or not 0 < int(port) < 65536:
                raise errors.UserError(
                    f"--worker_hosts: '{host}' is no address of a worker; "
                    "expected host:port, e.g. 127.0.0.1:24100"
                )
        if len(hosts) < 2 or len(set(hosts)) < len(hosts):
            raise errors.UserError(
                "--worker_hosts must name two workers or more, each once, got "
                f"'{','.join(hosts)}'; for one give "
                "--distribution_strategy=off"
            )
        if index is None or not 0 <= index < len(hosts):
            raise errors.UserError(
                f"--task_index must say which of the {len(hosts)} workers "
                f"this process is, from 0 to {len(hosts) - 1}, got {index}"
            )


def _of_environment(text: Optional[str]) -> tuple[tuple[str, ...], int]:
    """The workers that `TF_CONFIG` names, the chief first, and our place."""
    if not text:
        raise errors.UserError(
            "--distribution_strategy=multi_worker_mirrored needs "
            "--worker_hosts=HOST:PORT,HOST:PORT and --task_index, or TF_CONFIG "
            "in the environment"
        )
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        others = set(cluster) - {"chief", "worker"}
        if others or task["type"] not in cluster:
            raise ValueError(
                f"tasks of type '{(sorted(others) or [task['type']])[0]}'"
            )
        chief = [str(host) for host in cluster.get("chief", ())]
        workers = [str(host) for host in cluster.get("worker", ())]
        first = len(chief) if task["type"] == "worker" else 0
        return (*chief, *workers), first + int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"TF_CONFIG is not as expected: {errors.reason(error)}; expected "
            '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": '
            '"worker", "index": 0}}'
        ) from None


class Workers:
    """Who trains together, as this process sees it; alone by default.

    Args:
      strategy: of `tf.distribute`; None: nothing is distributed.
      hosts: addresses of the workers; () of one process.
      index: which of them this process is.

    Attributes:
      chief: whether this process is the one that writes.
      several: whether there are other processes.
    """

    def __init__(
        self,
        strategy: Optional[tf.distribute.Strategy] = None,
        hosts: Sequence[str] = (),
        index: int = 0,
    ):
        self.strategy = strategy
        self.hosts = hosts
        self.index = index
        self.chief = index == 0
        self.several = len(hosts) > 1
        self._model: Optional[tf.keras.Model] = None
        self._vote: Any = None

    def scope(self) -> contextlib.AbstractContextManager:
        """Inside, variables are made that all replicas hold."""
        return self.strategy.scope() if self.strategy else _nowhere()

    def batches(self, batches: tf.data.Dataset) -> Any:
        """Whole batches, endlessly, for each replica to take its rows of."""
        if self.strategy is None:
            return batches

        def local(context):
            count = context.num_replicas_in_sync // context.num_input_pipelines
            result = batches
            if count > 1:
                result = batches.flat_map(
                    lambda *batch: tf.data.Dataset.from_tensors(
                        batch if len(batch) > 1 else batch[0]
                    ).repeat(count)
                )
            # Of unknown length, all workers would ask each other in each step
            # whether there is more.
            return result.repeat().prefetch(2)

        return self.strategy.distribute_datasets_from_function(local)

    def callbacks(
        self, model: tf.keras.Model
    ) -> list[tf.keras.callbacks.Callback]:
        """What keeps the replicas of a training together."""
        if self.replicas == 1:
            return []
        found: list[tf.keras.callbacks.Callback] = [_Alike(self)]
        if self.several:
            if self._vote is None:
                self._vote = tf.Variable(0.0, trainable=False)
            # No attribute that checkpoints would hold.
            object.__setattr__(model, "vote", self._vote)
            found.insert(0, _EndTogether(self, self._vote))
        return found

    def watch(self, model: tf.keras.Model) -> None:
        """Whose steps are told when a worker is lost."""
        self._model = model

    def agree(self, what: str, value: int) -> None:
        """Refuses a number that is not the same for all workers.

        Raises:
          UserError: naming it, and what each has.
        """
        if not self.several:
            return
        found = self._gathered([[value]] * self._local)[:, 0].tolist()
        if len(set(found)) > 1:
            raise errors.UserError(
                f"the workers do not agree on {what}: "
                f"{', '.join(map(str, found))}, in their order; all must read "
                "the same files, from a folder that they share"
            )

    @property
    def replicas(self) -> int:
        """Of all processes together."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    @property
    def _local(self) -> int:
        """Replicas of this process."""
        assert self.strategy is not None
        return len(self.strategy.extended.worker_devices)

    def _gathered(self, values: Sequence[Sequence[int]]) -> np.ndarray:
        """Of each replica some numbers, given those of this process's."""
        strategy = self.strategy
        assert strategy is not None
        with strategy.scope():
            rest = iter(values)
            spread = strategy.experimental_distribute_values_from_function(
                lambda _: tf.constant([next(rest)], tf.int64)
            )
            return strategy.gather(spread, axis=0).numpy()

    def check_alike(self, variables: Sequence[tf.Variable]) -> None:
        """Refuses to go on when replicas hold different weights.

        Raises:
          UserError: naming one that differs.
        """
        strategy = self.strategy
        assert strategy is not None
        digests = []
        for variable in variables:
            copies = strategy.experimental_local_results(variable)
            found = [_digest(copy.numpy()) for copy in copies]
            # There may be one that all of them read.
            digests.append(found if len(found) > 1 else found * self._local)
        spread = self._gathered(list(zip(*digests)))
        differ = np.flatnonzero((spread != spread[0]).any(0))
        if len(differ):
            raise errors.UserError(
                f"the replicas hold different values of {len(differ)} "
                f"variables, {variables[differ[0]].name} among them, as CPUs "
                "of different kinds may make them: start all again with "
                "--resume, on machines of one kind"
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Tells of a worker that is lost in one line.

        Raises:
          UserError: if there is one.
        """
        try:
            yield
        except _LOST as error:
            if not self.several:
                raise
            at = ""
            if self._model is not None:
                at = f" at step {_keras.updates(self._model)}"
            # What TensorFlow says of it are pages of where it happened.
            raise errors.UserError(
                f"a worker was lost{at} ({type(error).__name__}); start all "
                "again with --resume"
            ) from None


def _digest(array: np.ndarray) -> int:
    digest = hashlib.blake2b(array.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@contextlib.contextmanager
def _nowhere() -> Iterator[None]:
    yield


_ALONE = Workers()
_current = _ALONE


def current() -> Workers:
    """Those that this process is one of."""
    return _current


def own(net: Any) -> Any:
    """A net whose variables are the strategy's, in whose scope this is called.

    Args:
      net: with `variables` and `resized(sizes)`; itself without a strategy.
    """
    if not tf.distribute.has_strategy():
        return net
    copy = net.resized({})
    for new, old in zip(copy.variables, net.variables):
        new.assign(old.numpy())
    return copy


def join(values: Mapping[str, Any], batch_size: int) -> Workers:
    """Joins the workers, or devices, that flags name.

    Args:
      values: of all flags, by name.
      batch_size: of all replicas together.

    Raises:
      UserError: the flags are wrong, or a worker is not there in time.
    """
    global _current
    settings = Settings.from_flags(values)
    kind = settings.distribution_strategy
    if kind == "off":
        _current = _ALONE
        return _current
    _check_supported(values, kind)
    if kind == "one_device":
        _current = Workers(tf.distribute.OneDeviceStrategy(_first_device()))
    elif kind == "mirrored":
        devices = _devices(settings.num_replicas)
        _check_rows(batch_size, len(devices))
        _current = Workers(tf.distribute.MirroredStrategy(devices))
    else:
        _check_rows(batch_size, len(settings.worker_hosts))
        _current = _joined(settings)
        _check_rows(batch_size, _current.replicas)
    return _current


def _check_supported(values: Mapping[str, Any], kind: str) -> None:
    """Refuses what is not right on replicas yet."""
    if _keras.VERSION != 2:
        raise errors.UserError(
            "--distribution_strategy needs Keras 2; give "
            "--distribution_strategy=off"
        )
    if values.get("mixed_precision"):
        raise errors.UserError(
            "--mixed_precision does not train on replicas; give "
            "--compute_dtype=bfloat16 instead, or --distribution_strategy=off"
        )
    if kind == "multi_worker_mirrored" and (
        values.get("target_max_loss") is not None
    ):
        raise errors.UserError(
            "--target_max_loss goes by an evaluation, which the chief alone "
            f"makes; leave it out, or the --distribution_strategy={kind}"
        )


def _check_rows(batch_size: int, count: int) -> None:
    if batch_size % count:
        raise errors.UserError(
            f"--batch_size={batch_size} is that of all {count} replicas "
            f"together, and does not divide by {count}; give a multiple of it"
        )


def _first_device() -> str:
    return "/gpu:0" if tf.config.list_physical_devices("GPU") else "/cpu:0"


def _devices(count: Optional[int]) -> list[str]:
    """Of the replicas of one process: its GPUs, else parts of its CPU."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus:
        if count is not None and count > gpus:
            raise errors.UserError(
                f"--num_replicas={count}: this machine has {gpus} GPUs"
            )
        return [f"GPU:{i}" for i in range(count or gpus)]
    if count is None:
        raise errors.UserError(
            "--distribution_strategy=mirrored: this machine has no GPU; give "
            "--num_replicas, into so many parts its CPU is divided"
        )
    (cpu, *_) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * count
    )
    return [f"CPU:{i}" for i in range(count)]


def _joined(settings: Settings) -> Workers:
    hosts, index = tuple(settings.worker_hosts), settings.task_index
    assert index is not None
    await_peers(hosts, index, WAIT_SECONDS)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(hosts)}),
        task_type="worker",
        task_id=index,
        rpc_layer="grpc",
    )
    try:
        with _killed_after(WAIT_SECONDS), _signals_kill():
            strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except tf.errors.OpError as error:
        raise errors.UserError(
            f"worker {index} cannot join the others: {errors.reason(error)}"
        ) from None
    print(
        f"worker {index} of {len(hosts)}, "
        f"{strategy.num_replicas_in_sync} replicas in all",
        flush=True,
    )
    return Workers(strategy, hosts, index)


# Of a process that waits for its parent to close a pipe.
_WATCH = """
import os, select, signal, sys
seconds = float(sys.argv[1])
if not select.select([0], [], [], seconds)[0]:
    print("error: the workers found each other, and did not begin within",
          f"{seconds:.0f} seconds; start all of them again", file=sys.stderr)
    os.kill(os.getppid(), signal.SIGKILL)
"""


@contextlib.contextmanager
def _killed_after(seconds: float) -> Iterator[None]:
    """Kills this process, with one line, if the block takes longer.

    TensorFlow would wait for a worker for an hour, and holds Python's lock
    meanwhile: no thread and no handler of a signal could do it.
    """
    command = [sys.executable, "-I", "-S", "-c", _WATCH, f"{seconds:g}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE):
        yield  # Then the pipe is closed.


@contextlib.contextmanager
def _signals_kill() -> Iterator[None]:
    """Inside, signals end the process at once; behind it, as before.

    TensorFlow puts a handler of its own in the place of SIGTERM's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def await_peers(hosts: Sequence[str], index: int, seconds: float) -> None:
    """Waits until each of the other workers takes connections.

    Args:
      hosts: `host:port` of all.
      index: of this one, which takes them at its own port meanwhile.
      seconds: to wait for.

    Raises:
      UserError: one is not there in time, or the port is taken.
    """
    deadline, told = time.monotonic() + seconds, False
    with _listening(hosts[index], index, deadline):
        missing = [host for i, host in enumerate(hosts) if i != index]
        while True:
            missing = [host for host in missing if not _answers(host)]
            if not missing:
                return
            if time.monotonic() > deadline:
                raise errors.UserError(
                    f"no answer from {', '.join(missing)} within "
                    f"{seconds:.0f} seconds: start all workers, each with the "
                    "same --worker_hosts and a --task_index of its own"
                )
            if not told:
                print(f"waiting for {', '.join(missing)}", flush=True)
                told = True
            time.sleep(0.2)


def _listening(host: str, index: int, deadline: float) -> socket.socket:
    """Takes connections; a process of before may have the port for a while."""
    while True:
        try:
            return socket.create_server(("", int(host.rpartition(":")[2])))
        except OSError as error:
            if time.monotonic() > deadline:
                raise errors.UserError(
                    f"worker {index} cannot listen at {host}: "
                    f"{errors.reason(error)}; give another port, or see to it "
                    "that no two processes have one --task_index"
                ) from None
        time.sleep(0.2)


def _answers(host: str) -> bool:
    name, _, port = host.rpartition(":")
    try:
        with socket.create_connection((name.strip("[]"), int(port)), 2.0):
            return True
    except OSError:
        return False


class _Alike(tf.keras.callbacks.Callback):
    """Compares the replicas' weights at each epoch's end."""

    def __init__(self, workers: Workers):
        super().__init__()
        self.workers = workers

    def on_epoch_end(self, epoch, logs=None):
        self.workers.check_alike(self.model.variables)


class _EndTogether(tf.keras.callbacks.Callback):
    """Whoever is asked to end tells the others, by a number in the step's sum.

    So all know at the same step, and save it.
    """

    def __init__(self, workers: Workers, vote: tf.Variable):
        super().__init__()
        self.workers = workers
        self.vote = vote

    def on_train_batch_begin(self, batch, logs=None):
        if stopping.wished():
            self.vote.assign(1.0)

    def on_train_batch_end(self, batch, logs=None):
        if float(logs.pop("votes")) > 0:
            stopping.ask()
