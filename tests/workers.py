"""Several workers of a program on this machine."""

import pathlib
import socket
import subprocess

ROOT = pathlib.Path(__file__).parent.parent


def free_hosts(count):
    """Addresses that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return hosts


def start(command, count=2):
    """Starts a program's workers, the chief first."""
    hosts = ",".join(free_hosts(count))
    return [
        subprocess.Popen(
            [
                *command,
                "--distribution_strategy=multi_worker_mirrored",
                f"--worker_hosts={hosts}",
                f"--task_index={index}",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]


def ends(processes, timeout):
    """(exit code, what was printed, complaints) of each."""
    try:
        return [
            (process.returncode, *streams)
            for process in processes
            for streams in [process.communicate(timeout=timeout)]
        ]
    finally:
        for process in processes:
            process.kill()


def run(command, count=2, timeout=1200):
    """Runs them to the end; what each printed."""
    found = ends(start(command, count), timeout)
    for code, _, complaints in found:
        assert code == 0, complaints
    return [printed for _, printed, _ in found]
