"""Training the sizes that a run found from scratch: the honest comparison.

`--from_scratch_of=RUN` stands for the flags of that run, without those that
made its net small, and with the sizes that it ended with.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Optional

from absl import flags

from iss_rnns import errors
from iss_rnns import files
from iss_rnns.experiments import flagfiles

FLAG = "from_scratch_of"
METHOD = "from scratch"  # as tables of runs name what has no other
COMPRESSED = pathlib.Path("saved_model", "compressed")
_SPARSITY = (
    "structure_wd",
    "relax_epoch",
    "relax_decay",
    "row_col_wd",
    "l1wd",
    "zero_threshold",
    "freeze_mode",
    "shrink_every_steps",
    "pruning",
)
_PREFIXES = ("target_", "pruning_")
_OTHERS = ("block_size", "dense_checkpoint")


def expanded(args: Sequence[str]) -> list[str]:
    """Arguments with those of the run before them; others stay as they are.

    A run that is resumed has all of its flags on record.

    Args:
      args: of a command line.

    Raises:
      UserError: if the run's flags cannot be read.
    """
    run = _value(args, FLAG)
    if run is None or "--resume" in args:
        return list(args)
    path = pathlib.Path(run, flagfiles.OF_RUN)
    compared = _value(flagfiles.read(str(path)), "compare_with")
    return [
        f"--flagfile={path}",
        f"--run_name={pathlib.Path(run).resolve().name}_from_scratch",
        "--restore_path=",
        f"--compare_with={','.join(filter(None, [compared, run]))}",
        *args,
    ]


def drop_sparsity(values: flags.FlagValues) -> None:
    """Sets all that makes a net small to its default, if it is asked for."""
    if FLAG not in values or not values[FLAG].value:
        return
    for name in values:
        if name in _SPARSITY + _OTHERS or name.startswith(_PREFIXES):
            values[name].unparse()


def found_sizes(run: str) -> Mapping[str, int]:
    """Units of each layer, by name, that a run ended with.

    Raises:
      UserError: if it has not ended.
    """
    from iss_rnns.export import manifest  # TensorFlow takes seconds

    path = pathlib.Path(run) / COMPRESSED / manifest.FILE
    if not path.exists():
        raise errors.UserError(
            f"--{FLAG}={run}: it has no {path}, which says the sizes that it "
            "found: give a run that has ended"
        )
    text = files.read_text(str(path), "manifest")
    return manifest.parse(text, path.parent).sizes


def _value(args: Sequence[str], name: str) -> Optional[str]:
    """The last value that arguments give a flag."""
    found = None
    for i, arg in enumerate(args):
        if arg.lstrip("-").startswith(f"{name}="):
            found = arg.partition("=")[2]
        elif arg.lstrip("-") == name and arg.startswith("-"):
            found = args[i + 1] if i + 1 < len(args) else None
    return found
