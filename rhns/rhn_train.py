"""Highway language model with learned widths: the program.

    python -m rhns.rhn_train --flagfile=rhns/flags/ptb_iss_sota.flags \\
        --data_path=DIR --structure_wd=0.005

Hyper-parameters keep the authors' names and meanings; see `--help`.
"""

from absl import flags

from iss_rnns import errors
from iss_rnns.experiments import flags as flags_lib
from iss_rnns.experiments import machine
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program
from rhns import experiment
from rhns import options as options_lib

FLAGS = flags.FLAGS


def main(argv):
    """Runs one mode."""
    flags_lib.check_arguments(argv)
    values = FLAGS.flag_values_dict()
    machine.prepare_cpu(values["threads"], values["compute_dtype"])
    options = options_lib.Options.from_flags(values)
    if values["mode"] == "eval_mc" and not options.mc_steps:
        raise errors.UserError(
            "--mode=eval_mc needs --mc_steps, the number "
            "of samples, e.g. --mc_steps=100"
        )
    path, authors = values["restore_path"], values["load_model"]
    if authors and path not in (None, authors):
        raise errors.UserError(
            f"--load_model={authors} and --restore_path={path} are two names "
            "of one flag; give one"
        )
    values["restore_path"] = path or authors
    choices = program.Choices.from_flags(values)
    task = experiment.HighwayTask(
        options, choices, experiment.read_texts(options)
    )
    program.run(task, choices, FLAGS.flags_into_string())


if __name__ == "__main__":
    options_lib.define_flags()
    main_lib.run_main(main)
