r"""BiDAF with Intrinsic Sparse Structures: the program.

    python -m bidaf.cli --mode=train --data_dir=data/squad
    python -m bidaf.cli --mode=train --data_dir=data/squad \
        --load_path=RUN --structure_wd=0.001 --group_config=iss
    python -m bidaf.cli --mode=test --data_dir=data/squad --load_path=RUN

Flags keep the authors' names, meanings and defaults; see `--help`.
"""

from absl import flags

from bidaf import experiment
from bidaf import options as options_lib
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import machine
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program

FLAGS = flags.FLAGS


def main(argv):
    """Runs one mode."""
    flags_lib.check_arguments(argv)
    values = FLAGS.flag_values_dict()
    machine.prepare_cpu(values["threads"], values["compute_dtype"])
    choices = options_lib.choices_from_flags(values)
    options = options_lib.Options.from_flags(values)
    task = experiment.BiDAFTask(
        options, choices, experiment.read_questions(options, choices)
    )
    program.run(task, choices, FLAGS.flags_into_string())


if __name__ == "__main__":
    options_lib.define_flags()
    main_lib.run_main(main)
