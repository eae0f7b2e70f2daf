"""Every library on the six models, each in its environment; prints a table.

    python -m benchmarks.rivals --tfmot=.venv-tfmot/bin/python \\
        --torch_pruning=.venv-torch-pruning/bin/python

`make rivals` makes the environments first.
"""

import argparse
import json
import pathlib
import subprocess
import sys

from benchmarks.rivals import outcome

PROGRAMS = {
    "iss_rnns": ["benchmarks.rivals.keras_models", "iss_rnns"],
    "tfmot": ["benchmarks.rivals.keras_models", "tfmot"],
    "torch_pruning": ["benchmarks.rivals.torch_models"],
}
TITLES = {
    "iss_rnns": "iss-rnns",
    "tfmot": "tfmot 0.8.1",
    "torch_pruning": "Torch-Pruning 1.6.1",
}


def outcomes_of(library: str, python: str) -> dict[str, dict]:
    """What a library makes of each model, by an interpreter that has it."""
    done = subprocess.run(
        [python, "-m", *PROGRAMS[library]],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def cell(found: dict) -> str:
    """An outcome in a few words."""
    if "refused" in found:
        return f"no: {found['refused']}".replace("|", "/")
    units, (before, after) = found["units"], found["bytes"]
    difference = found["difference"]
    same = difference is not None and difference <= outcome.SAME
    return (
        f"{units[0]} -> {units[1]} units, outputs "
        + (
            "equal"
            if same
            else "of another shape"
            if difference is None
            else f"differ by {difference:.2g}"
        )
        + f", file {after / before:.2f}x, {found['speedup']:.2f}x as fast"
    )


def table(found: dict[str, dict[str, dict]]) -> str:
    """Markdown: a row for each model, a column for each library."""
    lines = [
        "| model | " + " | ".join(TITLES[name] for name in found) + " |",
        "|---" * (1 + len(found)) + "|",
    ]
    for model, what in outcome.MODELS.items():
        cells = [cell(found[library][model]) for library in found]
        lines.append(f"| {model}: {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tfmot", help="Python with tfmot; else left out")
    parser.add_argument(
        "--torch_pruning", help="Python with Torch-Pruning; else left out"
    )
    parser.add_argument(
        "--json", type=pathlib.Path, help="file for the numbers"
    )
    options = parser.parse_args()
    pythons = {
        "iss_rnns": sys.executable,
        "tfmot": options.tfmot,
        "torch_pruning": options.torch_pruning,
    }
    found = {
        library: outcomes_of(library, python)
        for library, python in pythons.items()
        if python
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(table(found))


if __name__ == "__main__":
    main()
