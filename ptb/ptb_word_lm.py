"""Word language model with Intrinsic Sparse Structures: the program.

    python -m ptb.ptb_word_lm --data_path=DIR --config_file=SETTINGS.json

Flags keep the authors' names and meanings; see `--help`.
"""

from absl import flags

from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import machine
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program
from ptb import experiment
from ptb import options as options_lib

FLAGS = flags.FLAGS


def main(argv):
    """Runs one mode."""
    flags_lib.check_arguments(argv)
    values = FLAGS.flag_values_dict()
    machine.prepare_cpu(values["threads"], values["compute_dtype"])
    options = options_lib.Options.from_flags(values)
    values["save_path"] = values["save_path"] or options.settings.save_path
    choices = program.Choices.from_flags(values)
    task = experiment.WordTask(options, choices, experiment.read_texts(options))
    program.run(task, choices, FLAGS.flags_into_string())


if __name__ == "__main__":
    options_lib.define_flags()
    main_lib.run_main(main)
