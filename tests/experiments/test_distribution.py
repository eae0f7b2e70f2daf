"""Who trains together: what flags and TF_CONFIG say, and waiting for others."""

import contextlib
import json
import socket
import threading

import numpy as np
import pytest
import tensorflow as tf

from iss_rnns import errors
from iss_rnns.experiments import distribution

VALUES = {
    "mode": "train",
    "distribution_strategy": "multi_worker_mirrored",
    "num_replicas": None,
    "worker_hosts": ["a:1", "b:2"],
    "task_index": 1,
}


def settings(**values):
    return distribution.Settings.from_flags({**VALUES, **values})


def of_environment(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    return settings(worker_hosts=None, task_index=None)


def test_workers_of_flags():
    assert settings().worker_hosts == ("a:1", "b:2")
    assert settings().task_index == 1
    assert (
        settings(worker_hosts=["[::1]:1", "b:2"]).worker_hosts[0] == "[::1]:1"
    )


def test_workers_of_tf_config(monkeypatch):
    cluster = {"worker": ["a:1", "b:2"]}
    task = {"type": "worker", "index": 1}
    found = of_environment(monkeypatch, {"cluster": cluster, "task": task})
    assert (found.worker_hosts, found.task_index) == (("a:1", "b:2"), 1)
    # As Kubeflow has it.
    cluster["chief"] = ["c:3"]
    found = of_environment(monkeypatch, {"cluster": cluster, "task": task})
    assert (found.worker_hosts, found.task_index) == (("c:3", "a:1", "b:2"), 2)
    task["type"], task["index"] = "chief", 0
    found = of_environment(monkeypatch, {"cluster": cluster, "task": task})
    assert found.task_index == 0


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "'cluster'"),
        ({"cluster": {"worker": ["a:1"]}, "task": {"index": 0}}, "'type'"),
        (
            {
                "cluster": {"worker": ["a:1", "b:1"], "ps": ["c:1"]},
                "task": {"type": "worker", "index": 0},
            },
            "tasks of type 'ps'",
        ),
        (
            {
                "cluster": {"worker": ["a:1", "b:1"]},
                "task": {"type": "evaluator", "index": 0},
            },
            "tasks of type 'evaluator'",
        ),
    ],
)
def test_another_tf_config_is_refused(monkeypatch, config, told):
    with pytest.raises(errors.UserError, match=f"TF_CONFIG is not .*{told}"):
        of_environment(monkeypatch, config)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"mode": "eval"}, "is for --mode=train; --mode=eval"),
        ({"num_replicas": 2}, "--num_replicas needs .*=mirrored"),
        ({"distribution_strategy": "off"}, "--worker_hosts and --task_index"),
        ({"worker_hosts": None, "task_index": None}, "or TF_CONFIG"),
        ({"worker_hosts": ["a:1"]}, "two workers or more"),
        ({"worker_hosts": ["a:1", "a:1"]}, "each once"),
        ({"worker_hosts": ["a", "b:1"]}, "'a' is no address"),
        ({"worker_hosts": ["a:0", "b:1"]}, "'a:0' is no address"),
        ({"task_index": 2}, "from 0 to 1, got 2"),
        ({"task_index": None}, "from 0 to 1, got None"),
    ],
)
def test_flags_that_do_not_fit_are_refused(monkeypatch, values, told):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(errors.UserError, match=told):
        settings(**values)


def test_rows_must_divide_by_the_replicas():
    values = {**VALUES, "worker_hosts": ["a:1", "b:1", "c:1"], "task_index": 0}
    with pytest.raises(errors.UserError, match="=20 is that of all 3 replicas"):
        distribution.join(values, 20)
    assert distribution.current().strategy is None


def test_what_does_not_train_on_replicas_is_refused():
    with pytest.raises(errors.UserError, match="--mixed_precision does not"):
        distribution.join({**VALUES, "mixed_precision": True}, 20)
    with pytest.raises(errors.UserError, match="--target_max_loss goes by"):
        distribution.join({**VALUES, "target_max_loss": 0.1}, 20)


def test_alone_nothing_is_distributed():
    workers = distribution.current()
    batches = object()
    assert workers.batches(batches) is batches
    assert workers.callbacks(None) == []
    assert workers.chief and not workers.several and workers.replicas == 1
    workers.agree("a step", 3)
    net = object()
    assert distribution.own(net) is net


@contextlib.contextmanager
def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    yield hosts


def test_workers_wait_for_each_other():
    with free_ports(3) as hosts:
        servers = {}

        def wait(index):
            distribution.await_peers(hosts, index, 60.0)
            # Whoever has found all leaves, and TensorFlow takes its port.
            port = int(hosts[index].rpartition(":")[2])
            servers[index] = socket.create_server(("", port))

        threads = [threading.Thread(target=wait, args=[i]) for i in range(3)]
        threads[1].start(), threads[2].start()
        threads[2].join(0.3)
        assert servers == {}
        threads[0].start()
        for thread in threads:
            thread.join(60)
        assert sorted(servers) == [0, 1, 2]
        for server in servers.values():
            server.close()


def test_a_worker_that_never_comes_is_named(capsys):
    with free_ports(2) as hosts:
        with pytest.raises(
            errors.UserError, match=f"no answer from {hosts[1]} within 1 sec"
        ):
            distribution.await_peers(hosts, 0, 0.6)
        assert f"waiting for {hosts[1]}" in capsys.readouterr().out
        with socket.create_server(("", int(hosts[0].rpartition(":")[2]))):
            with pytest.raises(errors.UserError, match="cannot listen at"):
                distribution.await_peers(hosts, 0, 0.6)


def test_numbers_that_differ_are_refused(monkeypatch):
    workers = distribution.Workers(strategy=object(), hosts=["a:1", "b:1"])
    monkeypatch.setattr(distribution.Workers, "_local", 1)
    for found in ([3, 3], [3, 4]):
        monkeypatch.setattr(
            workers,
            "_gathered",
            lambda values, found=found: np.array(found)[:, np.newaxis],
        )
        if found[0] == found[1]:
            workers.agree("the step", 3)
            continue
        with pytest.raises(errors.UserError, match="agree on the step: 3, 4"):
            workers.agree("the step", 3)


def test_weights_that_differ_are_refused(monkeypatch):
    """A worker alone in its strategy, beside what another would say."""
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    workers = distribution.Workers(strategy, hosts=["a:1", "b:1"])
    with strategy.scope():
        variables = [tf.Variable([0.0, 1.0], name=n) for n in ("one", "two")]
    workers.check_alike(variables)
    own = workers._gathered
    variables[1].assign([-0.0, 1.0])  # Not the same bits.
    others = own([[1, 2]])

    def beside_another(values):
        found = own(values)
        others[0, 0] = found[0, 0]
        return np.concatenate([found, others])

    monkeypatch.setattr(workers, "_gathered", beside_another)
    with pytest.raises(errors.UserError, match="of 1 variables, two:0 among"):
        workers.check_alike(variables)
