"""Feeds damaged files to every reader of the project: the long run.

    python tests/fuzz/run.py --count=20000
    python tests/fuzz/run.py --reader=glove --first=123 --count=1 --keep=/tmp/x

Each reader runs in a process of its own, which may crash without ending the
others; an input depends on the reader and its number only, so that one that
failed can be made again by itself.
"""

import argparse
import multiprocessing
import os
import pathlib
import resource
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
CHUNK = 500  # inputs between two progress lines


def work(name, first, stop, keep, number, results):
    """Gives inputs `first:stop` to a reader, in a process of its own."""
    from fuzz import fuzzing

    while first < stop:
        count = min(CHUNK, stop - first)

        def started(current):
            number.value = current

        outcome = fuzzing.run(name, count, first, started, keep)
        first += count
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        results.put(
            (count, outcome.read, outcome.refused, outcome.failed, peak)
        )
    results.put(None)


def fuzz(name, options):
    """All inputs of a reader; returns (inputs, read, refused, failures)."""
    # With TensorFlow imported, but not begun to be used.
    context = multiprocessing.get_context("fork")
    first, stop = options.first, options.first + options.count
    read = refused = done = peak = 0
    failed = {}
    began = time.time()
    while first < stop:
        number, results = context.Value("q", first), context.Queue()
        process = context.Process(
            target=work,
            args=(name, first, stop, options.keep, number, results),
        )
        process.start()
        while True:
            try:
                chunk = results.get(timeout=1)
            except Exception:  # queue.Empty
                if process.is_alive():
                    continue
                # What it did of its last chunk is lost, and done again.
                failed[number.value] = (
                    f"the process died with exit code {process.exitcode}"
                )
                first = number.value + 1
                done += 1
                break
            if chunk is None:
                first = stop
                break
            count, more_read, more_refused, more_failed, peak = chunk
            first += count
            done += count
            read += more_read
            refused += more_refused
            failed.update(more_failed)
            if sys.stderr.isatty() or done % (10 * CHUNK) == 0:
                print(
                    f"{name}: {done:,} of {options.count:,}, {read:,} read, "
                    f"{refused:,} refused, {len(failed)} failed, "
                    f"{time.time() - began:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
        process.join()
    print(
        f"{name:20} {done:7,} inputs {read:7,} read {refused:7,} refused "
        f"{len(failed):4} failed  {time.time() - began:5.0f} s  "
        f"{peak / 1024:,.0f} MB",
        flush=True,
    )
    for place, trace in list(failed.items())[: options.show]:
        print(f"  input {place}:", *trace.strip().splitlines(), sep="\n    ")
    return done, read, refused, len(failed)


def main():
    """Runs the readers asked for and prints the sums."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20000, help="per reader")
    parser.add_argument("--first", type=int, default=0, help="first input")
    parser.add_argument("--reader", action="append", help="only this one")
    parser.add_argument("--show", type=int, default=3, help="failures shown")
    parser.add_argument(
        "--keep", type=pathlib.Path, help="folder for inputs that failed"
    )
    options = parser.parse_args()
    from iss_rnns.experiments import environment

    environment.prepare()  # before TensorFlow is imported
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    from fuzz import readers

    names = options.reader or sorted(readers.READERS)
    unknown = set(names) - set(readers.READERS)
    if unknown:
        parser.error(
            f"unknown reader {', '.join(unknown)}; known: "
            + ", ".join(sorted(readers.READERS))
        )
    sums = [sum(each) for each in zip(*(fuzz(n, options) for n in names))]
    print(
        f"{len(names)} readers, {sums[0]:,} damaged inputs: {sums[1]:,} read, "
        f"{sums[2]:,} refused in one line, {sums[3]:,} failed"
    )
    return 1 if sums[3] else 0


if __name__ == "__main__":
    sys.exit(main())
