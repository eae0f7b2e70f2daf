"""The command `iss-rnns`: what can be done with models and runs."""

import importlib
import sys

COMMANDS = {
    "inspect": "iss_rnns.experiments.commands.inspect",
    "shrink": "iss_rnns.experiments.commands.shrink",
    "export": "iss_rnns.experiments.commands.export",
    "bench": "iss_rnns.experiments.commands.bench",
    "compare": "iss_rnns.experiments.reports.compare",
}


def main() -> None:
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        usage = f"usage: iss-rnns {'|'.join(COMMANDS)} ..., each with --help"
        if name in ("-h", "--help"):
            print(usage)
            sys.exit(0)
        print(f"error: unknown command '{name}'; {usage}", file=sys.stderr)
        sys.exit(2)
    program = importlib.import_module(COMMANDS[name])
    sys.argv = [f"iss-rnns {name}", *sys.argv[2:]]
    program.start()
