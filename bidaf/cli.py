r"""BiDAF with Intrinsic Sparse Structures: the program.

    python -m bidaf.cli --mode=train --data_dir=data/squad
    python -m bidaf.cli --mode=train --data_dir=data/squad \
        --load_path=RUN --structure_wd=0.001 --group_config=iss
    python -m bidaf.cli --mode=test --data_dir=data/squad --load_path=RUN

Flags keep the authors' names, meanings and defaults; see `--help`.
"""

import dataclasses
import pathlib
from typing import Optional

from absl import flags

from bidaf import finish as finish_lib
from bidaf import loading
from bidaf import model as model_lib
from bidaf import run as run_lib
from bidaf import scoring
from bidaf import settings
from bidaf import train as train_lib
from bidaf.data import read_data
from bidaf.data import sources
from bidaf.net import groups as groups_lib
from iss_rnns import averages
from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import thresholding
from iss_rnns.experiments import machine
from iss_rnns.experiments import main as main_lib
from iss_rnns.experiments import program
from iss_rnns.experiments import pruning_flags
from iss_rnns.experiments import restoring
from iss_rnns.experiments import runs
from iss_rnns.experiments.reports import sections

FLAGS = flags.FLAGS


def main(argv):
    """Runs one mode."""
    if len(argv) > 1:
        raise errors.UserError(
            f"unknown argument '{argv[1]}'; flags start with --, see --help"
        )
    machine.prepare_cpu(FLAGS.threads, FLAGS.compute_dtype)
    load_path = FLAGS.load_path if FLAGS.load else None
    if FLAGS.mode != "train" and not load_path:
        raise errors.UserError(
            f"--mode={FLAGS.mode} needs --load_path: a run directory, a .npz "
            "file or a checkpoint of the authors' program"
        )
    settings.options()  # Mistakes in flags are told before data is read.
    pruning_flags.PruningSettings.from_flags(FLAGS.flag_values_dict())
    sections.other_runs(FLAGS.compare_with)  # Not only after training.
    store = sources.open_store(
        FLAGS.data_dir,
        FLAGS.out_base_dir,
        FLAGS.synthetic_train,
        FLAGS.synthetic_dev,
        FLAGS.seed,
    )
    data = settings.from_flags(
        read_data.DataConfig, batch_size=settings.batch_size()
    )
    if FLAGS.mode == "train":
        train(sources.for_training(store, data), load_path)
        return
    part = FLAGS.forward_name if FLAGS.mode == "forward" else "test"
    questions = sources.for_testing(
        store,
        data,
        loading.vocabulary_of(load_path, FLAGS.shared_path),
        part,
        loading.word_size_of(load_path, FLAGS.load_step),
    )
    print(f"data: {questions.description}", flush=True)
    loaded = load(load_path, questions)
    if FLAGS.mode in ("test", "forward"):
        answer(loaded, questions, load_path)
    else:
        compress(loaded, questions, load_path)


def load(path: str, questions: sources.Questions) -> loading.Loaded:
    """Restored weights."""
    config = loading.config_of(
        path, FLAGS.load_step, lambda: settings.model_config(questions)
    )
    loading.check_fits(path, config, questions, FLAGS.wy, FLAGS.load_step)
    return loading.load(path, config, FLAGS.load_step)


def train(questions: sources.Questions, load_path: Optional[str]) -> None:
    """Trains, then shrinks, exports and reports."""
    options, plan = settings.options(questions), settings.plan()
    print(f"data: {questions.description}", flush=True)
    config = settings.model_config(questions)
    directory = run_directory(load_path) if FLAGS.resume else None
    if directory:
        net = resumed_net(directory, config, bool(load_path))
    elif not load_path:
        net = run_lib.fresh_net(config, questions, FLAGS.seed)
    else:
        net = start_from(load_path, config, questions, options)
    options = dataclasses.replace(
        options, pruning_plan=pruning_plan(net, questions, options, directory)
    )
    # Wrong groups and names are told now.
    train_lib.sparsity_callbacks(net, options)
    train_lib.trained_variables(net, options.finetuned or ())
    if directory is None:
        directory = run_directory(load_path)
        directory.write_text(
            "flags.txt", program.resumable(FLAGS.flags_into_string(), directory)
        )
    trainer, rows = run_lib.train(
        net, options, plan, questions, directory, FLAGS.resume
    )
    loaded = loading.Loaded(
        trainer.net,
        trainer.averages,
        int(trainer.optimizer.iterations),
        tuple(options.pruning_plan.schedules) if options.pruning_plan else (),
    )
    finish(
        loaded,
        questions,
        directory,
        options,
        rows,
        restoring.designed_sizes(directory.path),
    )


def pruning_plan(
    net: model_lib.BiDAF,
    questions: sources.Questions,
    options: train_lib.Options,
    resumed: Optional[runs.RunDirectory],
) -> Optional[pruning_flags.PruningPlan]:
    """How the net is pruned while it trains; None if it is not."""
    recorded = None
    if resumed:
        recorded = (
            loading.state_of(resumed.path)[1].get("options", {}).get("pruning")
        )
    steps = -(-questions.train.num_examples // settings.batch_size())
    return pruning_flags.PruningSettings.from_flags(
        FLAGS.flag_values_dict()
    ).plan(
        options.num_steps / steps,
        steps,
        net.layer_types(),
        model_lib.LAYER_TYPES,
        lambda path: pruning_flags.arrays(
            load(path, questions).net.layer_types()
        ),
        recorded,
    )


def run_directory(load_path: Optional[str]) -> runs.RunDirectory:
    """That of flags; --overwrite spares what else they name."""
    return runs.RunDirectory(
        FLAGS.out_base_dir,
        FLAGS.run_id,
        FLAGS.resume and FLAGS.mode == "train",
        FLAGS.overwrite,
        keep=[
            load_path,
            FLAGS.shared_path,
            FLAGS.data_dir,
            FLAGS.dense_checkpoint,
            *FLAGS.compare_with,
        ],
    )


def resumed_net(
    directory: runs.RunDirectory, config: model_lib.ModelConfig, loaded: bool
) -> model_lib.BiDAF:
    """A net of the sizes that the run's checkpoint has.

    Args:
      directory: the run's.
      config: of flags.
      loaded: the run began with --load_path and took all but the dropout
        over from there.
    """
    _, state = loading.state_of(directory.path)
    if loaded:
        config = dataclasses.replace(
            model_lib.ModelConfig(**state["model"]),
            keep_prob=config.keep_prob,
            input_keep_prob=config.input_keep_prob,
        )
    return model_lib.BiDAF(config, state["sizes"], FLAGS.seed)


def start_from(
    path: str,
    config: model_lib.ModelConfig,
    questions: sources.Questions,
    options: train_lib.Options,
) -> model_lib.BiDAF:
    """A net to go on training with, of other dropout if flags say so.

    Raises:
      UserError: if the weights belong to another vocabulary.
    """
    known = loading.config_of(path, FLAGS.load_step, lambda: config)
    known = dataclasses.replace(
        known,
        keep_prob=config.keep_prob,
        input_keep_prob=config.input_keep_prob,
    )
    known_words = loading.vocabulary_of(path, FLAGS.shared_path)
    if known_words != questions.vocabulary:
        raise errors.UserError(
            f"{path} was trained with another vocabulary "
            f"({len(known_words.word2idx):,} words) than {FLAGS.data_dir} "
            f"gives ({len(questions.vocabulary.word2idx):,}); give the data "
            "and the word_count_th, char_count_th, ... that it was trained "
            "with"
        )
    loading.check_fits(path, known, questions)
    loaded = loading.load(path, known, FLAGS.load_step)
    if options.freeze_mode:
        settle(loaded, options)  # What is dead is to stay so.
        return loaded.net
    if FLAGS.load_ema and loaded.averages is not None:
        loaded.give_averages()
    loading.zero_small(loaded.net, options)
    return loaded.net


def answer(
    loaded: loading.Loaded, questions: sources.Questions, load_path: str
) -> None:
    """Scores the questions and writes the answers."""
    options = settings.options()
    settle(loaded, options)
    if options.group_config is not None:
        groups = train_lib.penalized_groups(loaded.net, options)
        print("living units:", _units(groups))
        thresholding.coordinate(groups)
        print("living units, once nobody reads what is dead:", _units(groups))
    scores = score(loaded.net, questions)
    if FLAGS.mode == "test":
        print(scores, flush=True)
    folder, name = answer_place(load_path, questions, loaded.step)
    for path in run_lib.dump(
        scores, folder, name, settings.plan(), FLAGS.answer_path
    ):
        print(f"wrote {path}")
    if FLAGS.vis:
        path = scoring.write_probabilities(
            scoring.net_function(loaded.net, questions.vectors, FLAGS.wy),
            questions,
            settings.batch_size(),
            folder / run_lib.EVAL / name,
            test_batches(),
        )
        print(f"wrote {path}")


def score(
    net: model_lib.BiDAF, questions: sources.Questions, **kwargs
) -> scoring.Scores:
    """As the flags say; see `scoring.score`."""
    return scoring.score(
        scoring.net_function(net, questions.vectors, FLAGS.wy),
        questions,
        settings.batch_size(),
        settings.rules(),
        test_batches(),
        **kwargs,
    )


def settle(
    loaded: loading.Loaded, options: train_lib.Options
) -> dict[str, int]:
    """See `loading.settle`."""
    return loading.settle(loaded, options, FLAGS.load_ema, FLAGS.dead_below)


def test_batches() -> int:
    """Batches of an evaluation; 0 means all."""
    return 2 if FLAGS.debug else FLAGS.test_num_batches


def answer_place(
    load_path: str, questions: sources.Questions, step: int
) -> tuple[pathlib.Path, str]:
    """Where answers go, and how they are called."""
    folder = load_path if restoring.is_run(load_path) else FLAGS.out_base_dir
    return (
        pathlib.Path(folder),
        f"{FLAGS.mode}-{questions.judged.name}-{step:06}",
    )


def _units(groups: list) -> str:
    return ", ".join(
        f"{name} {count}"
        for name, count in callbacks.alive_units(groups).items()
    )


def compress(
    loaded: loading.Loaded, questions: sources.Questions, load_path: str
) -> None:
    """Modes shrink, export and report."""
    options = settings.options()
    directory = run_directory(load_path)
    directory.write_text(
        "flags.txt", program.resumable(FLAGS.flags_into_string(), directory)
    )
    if FLAGS.mode == "report":
        finish(
            loaded,
            questions,
            directory,
            options,
            restoring.past_rows(load_path),
            restoring.designed_sizes(load_path),
        )
        return
    settle(loaded, options)
    net = loaded.net
    small, proof = finish_lib.shrink_proved(net, questions)
    if FLAGS.plot_weights:
        sections.draw(directory, net, small, each=True)
    if FLAGS.mode == "shrink":
        path = directory.path / "compressed.npz"
        restoring.save_weights(small, path)
        questions.vocabulary.save(directory.path / sources.VOCABULARY)
        print(score(small, questions))
        print(f"weights: {path}")
    else:
        designed = finish_lib.designed_net(
            net, restoring.designed_sizes(load_path)
        )
        finish_lib.export_both(
            designed,
            small,
            questions,
            directory,
            finish_lib.model_card(
                designed, questions, proof, machine.command_line("bidaf.cli")
            ),
            designed is net,
        )
        print(f"exported to {directory.path / 'saved_model'}")


def finish(
    loaded: loading.Loaded,
    questions: sources.Questions,
    directory: runs.RunDirectory,
    options: train_lib.Options,
    rows: list,
    designed_sizes: Optional[dict[str, int]],
) -> None:
    """Scores, settles, and all that `finish_lib.finish` does."""

    def shown(title):
        scores = score(loaded.net, questions, title=title)
        print(f"{title}: {scores}", flush=True)
        return scores

    if loaded.averages is not None and FLAGS.load_ema:
        kept = averages.MovingAverages(loaded.net.trainable_variables, 1.0)
        loaded.give_averages()
    trained = shown(finish_lib.AS_TRAINED)
    if loaded.averages is not None and FLAGS.load_ema:
        kept.give()
    dead = settle(loaded, options) != {
        name: loaded.net.sizes[name]
        for name in groups_lib.shrinkable(loaded.net)
    }
    masked = shown("masked") if dead else trained
    groups = FLAGS.group_config or "no groups"
    finish_lib.finish(
        directory,
        loaded.net,
        questions,
        machine.command_line("bidaf.cli"),
        settings.batch_size(),
        settings.rules(),
        trained,
        masked,
        rows,
        FLAGS.compare_with,
        method=options.method if FLAGS.mode == "train" else "",
        plot_weights=FLAGS.plot_weights,
        designed_sizes=designed_sizes,
        num_batches=test_batches(),
        dump=lambda scores, name: run_lib.dump(
            scores,
            directory.path,
            f"{questions.judged.name}-{name}",
            settings.plan(),
        ),
        title=f"BiDAF, hidden size {loaded.net.config.hidden_size}, "
        f"structure_wd {options.structure_wd:g} ({groups})",
    )


if __name__ == "__main__":
    settings.define_flags()
    main_lib.run_main(main)
