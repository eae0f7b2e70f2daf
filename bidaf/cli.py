r"""BiDAF with Intrinsic Sparse Structures: the program.

    python -m bidaf.cli --mode=train --data_dir=data/squad
    python -m bidaf.cli --mode=train --data_dir=data/squad \
        --load_path=RUN --structure_wd=0.001 --group_config=iss
    python -m bidaf.cli --mode=test --data_dir=data/squad --load_path=RUN

Flags keep the authors' names, meanings and defaults; see `--help`.
"""

import dataclasses
import math
import os
import pathlib
from typing import Dict, List, Optional, Tuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# pylint: disable=wrong-import-position
from absl import flags

from bidaf import attention
from bidaf import finish as finish_lib
from bidaf import groups as groups_lib
from bidaf import loading
from bidaf import model as model_lib
from bidaf import read_data
from bidaf import run as run_lib
from bidaf import scoring
from bidaf import sources
from bidaf import train as train_lib
from iss_rnns import addons
from iss_rnns import callbacks
from iss_rnns import errors
from iss_rnns import pipeline
from iss_rnns import program
from iss_rnns import pruning_flags
from iss_rnns import restoring
from iss_rnns import runs
from iss_rnns import thresholding
from iss_rnns import training
from iss_rnns.interop import group_json

FLAGS = flags.FLAGS
MODES = ("train", "test", "forward", "shrink", "export", "report")
STRENGTHS = ("wd", "l1wd", "row_col_wd", "structure_wd", "zero_threshold",
             "dead_below", "init_lr")


def define_flags() -> None:
    """The authors' flags, and those beyond."""
    _define_run_flags()
    _define_training_flags()
    pruning_flags.define_flags(model_lib.LAYER_TYPES, model_lib.LAYER_TYPES)
    _define_model_flags()
    _define_data_flags()


def _define_run_flags() -> None:
    flags.DEFINE_enum("mode", "test", MODES, "train: train, then shrink, "
                      "export and report. test: score. forward: answer only. "
                      "The others do their part with --load_path.")
    flags.DEFINE_bool("load", True, "Whether --load_path counts.")
    flags.DEFINE_string("load_path", None, "Weights to start from: a run "
                        "directory or .npz file of this program, or a "
                        "checkpoint of the authors'.")
    flags.DEFINE_integer("load_step", 0, "Of a run directory's checkpoint; "
                         "0: the newest.", lower_bound=0)
    flags.DEFINE_bool("load_ema", True, "Load the weights' moving averages.")
    flags.DEFINE_string("shared_path", None, "Vocabulary of the weights' "
                        "training. Default: the run directory's.")
    flags.DEFINE_string("data_dir", "data/squad", "Folder that bidaf.prepro "
                        "wrote; 'synthetic': questions that the project "
                        "makes up itself, kept below --out_base_dir.")
    flags.DEFINE_string("out_base_dir", "out", "Folder of the runs.")
    flags.DEFINE_string("run_id", None, "The run's folder below "
                        "--out_base_dir. Default: the time.")
    flags.DEFINE_alias("save_path", "out_base_dir")
    flags.DEFINE_alias("run_name", "run_id")
    flags.DEFINE_bool("resume", False, "Go on with an interrupted run.")
    flags.DEFINE_bool("overwrite", False, "Replace an existing run.")
    flags.DEFINE_integer("seed", 0, "Of weights, dropout, order of questions "
                         "and made-up data.", lower_bound=0)
    program.define_compare_flag()
    program.define_machine_flags()
    flags.DEFINE_integer("log_period", 100, "Steps between TensorBoard's "
                         "scalars.", lower_bound=1)
    flags.DEFINE_integer("eval_period", 1000, "Steps between evaluations.",
                         lower_bound=1)
    flags.DEFINE_integer("save_period", 1000, "Steps between checkpoints (and "
                         "one at each evaluation).", lower_bound=1)
    flags.DEFINE_integer("max_to_keep", 20, "Checkpoints.", lower_bound=1)
    flags.DEFINE_bool("dump_answer", True, "Write answers, as the official "
                      "script reads them.")
    flags.DEFINE_bool("dump_eval", True, "Write spans and their scores.")
    flags.DEFINE_string("answer_path", None, "With --mode=test or forward: "
                        "file of the answers. Default: answers/ in the run "
                        "directory of --load_path, else in --out_base_dir.")
    flags.DEFINE_string("forward_name", "dev", "Part of the data that "
                        "--mode=forward answers.")
    flags.DEFINE_bool("plot_weights", False, "Write a picture of each "
                      "matrix's zeros, before and after shrinking, into the "
                      "run's plots/weights/ (not with --mode=test or "
                      "forward).")
    flags.DEFINE_bool("vis", False, "With --mode=test or forward: also write "
                      "the probabilities of every word, as .npz files.")
    flags.DEFINE_bool("debug", False, "Two steps and two batches of "
                      "everything, to see whether all is well.")


def _define_training_flags() -> None:
    preset = train_lib.Options()
    flags.DEFINE_integer("batch_size", 60, "Questions of a batch.",
                         lower_bound=1)
    flags.DEFINE_integer("num_gpus", 1, "Multiplies --batch_size: the "
                         "authors' program gives each GPU a batch and "
                         "averages the gradients.", lower_bound=1)
    flags.DEFINE_integer("num_steps", preset.num_steps, "Steps to train; 0: "
                         "--num_epochs.", lower_bound=0)
    flags.DEFINE_integer("num_epochs", 12, "With --num_steps=0: passes over "
                         "the questions.", lower_bound=1)
    flags.DEFINE_integer("val_num_batches", 0, "Batches of an evaluation "
                         "while training; 0: all.", lower_bound=0)
    flags.DEFINE_integer("test_num_batches", 0, "Batches of other "
                         "evaluations; 0: all.", lower_bound=0)
    flags.DEFINE_enum("optimizer", preset.optimizer, ["adam", "gd"],
                      "gd: its rate falls by 10 after each third.")
    flags.DEFINE_float("init_lr", preset.init_lr, "Learning rate.")
    flags.DEFINE_float("input_keep_prob", 0.8, "Of inputs of LSTMs and "
                       "logits, while training.")
    flags.DEFINE_float("keep_prob", 0.8, "Of characters' embeddings.")
    flags.DEFINE_float("wd", preset.wd, "Strength of L2 on highway and "
                       "logits; some weights count several times, as in the "
                       "authors' code.")
    flags.DEFINE_float("l1wd", preset.l1wd, "Strength of L1 on LSTMs, "
                       "attention and logits; with --structured_sparsity on "
                       "vectors only.")
    flags.DEFINE_float("row_col_wd", preset.row_col_wd, "Strength of the "
                       "group lasso on rows and columns.")
    flags.DEFINE_float("structure_wd", preset.structure_wd, "Strength of the "
                       "group lasso on ISS components.")
    flags.DEFINE_bool("structured_sparsity", preset.structured_sparsity,
                      "Groups rather than single weights.")
    flags.DEFINE_bool("coef_scaling", preset.coef_scaling, "Rows and columns "
                      "weigh by the root of their length.")
    flags.DEFINE_enum("freeze_mode", None, ["element", "group"],
                      "Keep zeros: single weights, or whole dead units.")
    flags.DEFINE_string("group_config", None, "What --structure_wd acts on: "
                        "'iss', the model's own components; 'authors', those "
                        "of their files, which leave out who reads the "
                        "attended answer; or one of their JSON files.")
    flags.DEFINE_string("finetuning_config", None, "JSON with the names of "
                        "the only weights to train.")
    flags.DEFINE_float("zero_threshold", preset.zero_threshold, "Smaller "
                       "weights of LSTMs, attention and logits become exact "
                       "zeros.")
    flags.DEFINE_float("dead_below", 0., "Before shrinking: units whose "
                       "component has a norm up to this are dead, too; with "
                       "--shrink_every_steps at --dead_checks checks in a "
                       "row.")
    program.define_shrinking_flags()
    flags.DEFINE_float("var_decay", preset.var_decay, "Of the weights' "
                       "moving averages.")
    flags.DEFINE_float("decay", preset.decay, "Of the cost that is shown.")
    flags.DEFINE_bool("wy", preset.wy, "Learn which words are in the answer, "
                      "not its first and last.")
    flags.DEFINE_float("th", 0.5, "With --wy: least probability of a word.")
    flags.DEFINE_bool("blank_last_word", True, "As in the authors' program, "
                      "an answer that ends on its context's last word is "
                      "written as an empty one.")


def _define_model_flags() -> None:
    preset = model_lib.ModelConfig(2, 2, 1)
    flags.DEFINE_integer("hidden_size", preset.hidden_size, "Units of each "
                         "direction of each LSTM.", lower_bound=1)
    flags.DEFINE_integer("char_out_size", preset.char_out_size, "Features "
                         "that a word gets from its characters.",
                         lower_bound=1)
    flags.DEFINE_integer("char_emb_size", preset.char_emb_size, "Of a "
                         "character's embedding.", lower_bound=1)
    flags.DEFINE_string("out_channel_dims", preset.out_channel_dims,
                        "Channels of the character filters, between commas.")
    flags.DEFINE_string("filter_heights", preset.filter_heights,
                        "Characters that each of them sees.")
    flags.DEFINE_bool("highway", preset.highway, "Use the highway network.")
    flags.DEFINE_integer("highway_num_layers", preset.highway_num_layers,
                         "Its layers.", lower_bound=1)
    flags.DEFINE_bool("share_cnn_weights", preset.share_cnn_weights,
                      "One character CNN for context and question.")
    flags.DEFINE_bool("share_lstm_weights", preset.share_lstm_weights,
                      "One preprocessing LSTM for context and question.")
    flags.DEFINE_enum("logit_func", preset.logit_func, attention.SIMILARITIES,
                      "Likeness of a context and a question word.")
    flags.DEFINE_enum("answer_func", preset.answer_func, attention.ANSWERS,
                      "Logits of the answer's ends.")
    flags.DEFINE_bool("use_char_emb", preset.use_char_emb, "Words have "
                      "characters.")
    flags.DEFINE_bool("use_word_emb", preset.use_word_emb, "Words have "
                      "vectors.")
    flags.DEFINE_bool("q2c_att", preset.q2c_att, "Attention from question to "
                      "context.")
    flags.DEFINE_bool("c2q_att", preset.c2q_att, "From context to question.")
    flags.DEFINE_bool("dynamic_att", preset.dynamic_att, "Attention in every "
                      "step of the modelling LSTMs instead.")
    flags.DEFINE_bool("na", preset.na, "Learn a bias for having no answer.")


def _define_data_flags() -> None:
    preset = read_data.DataConfig()
    for name, what in (
            ("word_count_th", "Words without a vector must occur more often "
             "to get one of their own"),
            ("char_count_th", "Characters too")):
        flags.DEFINE_integer(name, getattr(preset, name), f"{what}.",
                             lower_bound=0)
    for name, what in (
            ("sent_size_th", "words of a sentence"),
            ("num_sents_th", "sentences of a context"),
            ("ques_size_th", "words of a question"),
            ("word_size_th", "characters of a word"),
            ("para_size_th", "words of a context, with --squash")):
        flags.DEFINE_integer(name, getattr(preset, name),
                             f"At most so many {what}.", lower_bound=1)
    flags.DEFINE_bool("lower_word", preset.lower_word, "In lower case.")
    flags.DEFINE_bool("finetune", preset.finetune, "Words with a vector are "
                      "trained, too.")
    flags.DEFINE_bool("use_glove_for_unk", preset.use_glove_for_unk,
                      "Words that are not trained keep their vector.")
    flags.DEFINE_bool("known_if_glove", preset.known_if_glove, "With "
                      "--finetune: even rare ones.")
    flags.DEFINE_bool("squash", preset.squash, "A context is one sentence.")
    flags.DEFINE_bool("single", preset.single, "Only the answer's sentence "
                      "is read.")
    flags.DEFINE_enum("data_filter", preset.data_filter, read_data.FILTERS,
                      "Which questions are trained on, see read_data.")
    flags.DEFINE_bool("len_opt", preset.len_opt, "Batches as narrow as their "
                      "longest sentence.")
    flags.DEFINE_bool("cpu_opt", preset.cpu_opt, "And with as many sentences "
                      "as needed.")
    flags.DEFINE_bool("cluster", False, "Batches of like lengths.")
    flags.DEFINE_integer("synthetic_train", 3000, "With "
                         "--data_dir=synthetic: questions to train on.",
                         lower_bound=1)
    flags.DEFINE_integer("synthetic_dev", 500, "Questions to judge on.",
                         lower_bound=1)


def from_flags(kind, **values):
    """A dataclass whose fields are flags, but for those in `values`."""
    return kind(**{**{field.name: FLAGS[field.name].value
                      for field in dataclasses.fields(kind)
                      if field.name in FLAGS}, **values})


def options_from_flags(questions: Optional[sources.Questions] = None
                       ) -> train_lib.Options:
    """What training needs, checked.

    Raises:
      UserError: naming the flag, its value and what would be right.
    """
    for name in STRENGTHS:
        value = FLAGS[name].value
        if not (value >= 0 and math.isfinite(value)):
            raise errors.UserError(f"--{name} must be a number >= 0, got "
                                   f"{value}")
    for name in ("var_decay", "decay", "th"):
        if not 0 <= FLAGS[name].value <= 1:
            raise errors.UserError(f"--{name} must be in [0, 1], got "
                                   f"{FLAGS[name].value}")
    groups = FLAGS.group_config
    if groups not in (None, train_lib.ISS, train_lib.AUTHORS):
        groups = group_json.load(groups)
    if FLAGS.structure_wd and groups is None:
        raise errors.UserError(
            "--structure_wd needs --group_config: 'iss', 'authors', or a "
            "JSON file of groups")
    if FLAGS.shrink_every_steps is not None and groups != train_lib.ISS:
        raise errors.UserError(
            "--shrink_every_steps needs --group_config=iss: a unit can only "
            "be cut when all that reads it is in its group")
    if FLAGS.row_col_wd and not FLAGS.structured_sparsity:
        raise errors.UserError(
            "--row_col_wd and --nostructured_sparsity exclude each other: "
            "without it, all that there is is L1")
    finetuned = None
    if FLAGS.finetuning_config:
        finetuned = train_lib.load_finetuning(FLAGS.finetuning_config)
    steps = FLAGS.num_steps
    if questions is not None and questions.train is not None and not steps:
        steps = FLAGS.num_epochs * -(
            -questions.train.num_examples // batch_size())
    return from_flags(train_lib.Options, group_config=groups,
                      finetuned=finetuned,
                      num_steps=2 if FLAGS.debug else steps)


def batch_size() -> int:
    """Questions of a step."""
    return FLAGS.batch_size * FLAGS.num_gpus


def plan_from_flags() -> run_lib.Plan:
    """How a run goes."""
    changes = {}
    if FLAGS.debug:
        changes = dict(eval_period=1, save_period=1, log_period=1,
                       val_num_batches=2)
    return from_flags(run_lib.Plan, batch_size=batch_size(),
                      rules=rules_from_flags(), **changes)


def rules_from_flags() -> scoring.Rules:
    """How answers are read off scores."""
    return scoring.Rules(FLAGS.wy, FLAGS.th, FLAGS.blank_last_word)


def model_config(questions: sources.Questions) -> model_lib.ModelConfig:
    """The net's hyper-parameters: flags, and what the data says."""
    return from_flags(
        model_lib.ModelConfig,
        word_vocab_size=questions.sizes.word_vocab_size,
        char_vocab_size=questions.sizes.char_vocab_size,
        word_emb_size=questions.sizes.word_emb_size)


def main(argv):
    """Runs one mode."""
    if len(argv) > 1:
        raise errors.UserError(f"unknown argument '{argv[1]}'; flags start "
                               "with --, see --help")
    training.prepare_cpu(FLAGS.threads, FLAGS.compute_dtype)
    load_path = FLAGS.load_path if FLAGS.load else None
    if FLAGS.mode != "train" and not load_path:
        raise errors.UserError(
            f"--mode={FLAGS.mode} needs --load_path: a run directory, a .npz "
            "file or a checkpoint of the authors' program")
    options_from_flags()  # Mistakes in flags are told before data is read.
    pruning_flags.Settings.of(FLAGS.flag_values_dict())
    pipeline.other_runs(FLAGS.compare_with)  # Not only after training.
    store = sources.open_store(FLAGS.data_dir, FLAGS.out_base_dir,
                               FLAGS.synthetic_train, FLAGS.synthetic_dev,
                               FLAGS.seed)
    data = from_flags(read_data.DataConfig, batch_size=batch_size())
    if FLAGS.mode == "train":
        train(sources.for_training(store, data), load_path)
        return
    part = FLAGS.forward_name if FLAGS.mode == "forward" else "test"
    questions = sources.for_testing(
        store, data, loading.vocabulary_of(load_path, FLAGS.shared_path),
        part, loading.word_size_of(load_path, FLAGS.load_step))
    print(f"data: {questions.description}", flush=True)
    loaded = load(load_path, questions)
    if FLAGS.mode in ("test", "forward"):
        answer(loaded, questions, load_path)
    else:
        compress(loaded, questions, load_path)


def load(path: str, questions: sources.Questions) -> loading.Loaded:
    """Restored weights."""
    config = loading.config_of(path, FLAGS.load_step,
                               lambda: model_config(questions))
    loading.check_fits(path, config, questions, FLAGS.wy, FLAGS.load_step)
    return loading.load(path, config, FLAGS.load_step)


def train(questions: sources.Questions, load_path: Optional[str]) -> None:
    """Trains, then shrinks, exports and reports."""
    options, plan = options_from_flags(questions), plan_from_flags()
    print(f"data: {questions.description}", flush=True)
    config = model_config(questions)
    directory = run_directory(load_path) if FLAGS.resume else None
    if directory:
        net = resumed_net(directory, config, bool(load_path))
    elif not load_path:
        net = run_lib.fresh_net(config, questions, FLAGS.seed)
    else:
        net = start_from(load_path, config, questions, options)
    options = dataclasses.replace(
        options, pruning_plan=pruning_plan(net, questions, options,
                                           directory))
    # Wrong groups and names are told now.
    train_lib.sparsity_callbacks(net, options)
    train_lib.trained_variables(net, options.finetuned or ())
    if directory is None:
        directory = run_directory(load_path)
        directory.write_text("flags.txt", program.resumable(
            FLAGS.flags_into_string(), directory))
    trainer, rows = run_lib.train(net, options, plan, questions, directory,
                                  FLAGS.resume)
    loaded = loading.Loaded(trainer.net, trainer.averages,
                            int(trainer.optimizer.iterations),
                            tuple(options.pruning_plan.schedules)
                            if options.pruning_plan else ())
    finish(loaded, questions, directory, options, rows,
           restoring.designed_sizes(directory.path))


def pruning_plan(net: model_lib.BiDAF, questions: sources.Questions,
                 options: train_lib.Options,
                 resumed: Optional[runs.RunDirectory]
                 ) -> Optional[pruning_flags.Plan]:
    """How the net is pruned while it trains; None if it is not."""
    recorded = None
    if resumed:
        recorded = loading.state_of(resumed.path)[1].get(
            "options", {}).get("pruning")
    steps = -(-questions.train.num_examples // batch_size())
    return pruning_flags.Settings.of(FLAGS.flag_values_dict()).plan(
        options.num_steps / steps, steps, net.layer_types(),
        model_lib.LAYER_TYPES, lambda path: pruning_flags.arrays(
            load(path, questions).net.layer_types()), recorded)


def run_directory(load_path: Optional[str]) -> runs.RunDirectory:
    """That of flags; --overwrite spares what else they name."""
    return runs.RunDirectory(
        FLAGS.out_base_dir, FLAGS.run_id,
        FLAGS.resume and FLAGS.mode == "train", FLAGS.overwrite,
        keep=[load_path, FLAGS.shared_path, FLAGS.data_dir,
              FLAGS.dense_checkpoint, *FLAGS.compare_with])


def resumed_net(directory: runs.RunDirectory, config: model_lib.ModelConfig,
                loaded: bool) -> model_lib.BiDAF:
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
            input_keep_prob=config.input_keep_prob)
    return model_lib.BiDAF(config, state["sizes"], FLAGS.seed)


def start_from(path: str, config: model_lib.ModelConfig,
               questions: sources.Questions, options: train_lib.Options
               ) -> model_lib.BiDAF:
    """A net to go on training with, of other dropout if flags say so.

    Raises:
      UserError: if the weights belong to another vocabulary.
    """
    known = loading.config_of(path, FLAGS.load_step, lambda: config)
    known = dataclasses.replace(known, keep_prob=config.keep_prob,
                                input_keep_prob=config.input_keep_prob)
    known_words = loading.vocabulary_of(path, FLAGS.shared_path)
    if known_words != questions.vocabulary:
        raise errors.UserError(
            f"{path} was trained with another vocabulary "
            f"({len(known_words.word2idx):,} words) than {FLAGS.data_dir} "
            f"gives ({len(questions.vocabulary.word2idx):,}); give the data "
            "and the word_count_th, char_count_th, ... that it was trained "
            "with")
    loading.check_fits(path, known, questions)
    loaded = loading.load(path, known, FLAGS.load_step)
    if options.freeze_mode:
        settle(loaded, options)  # What is dead is to stay so.
        return loaded.net
    if FLAGS.load_ema and loaded.averages is not None:
        loaded.give_averages()
    loading.zero_small(loaded.net, options)
    return loaded.net


def answer(loaded: loading.Loaded, questions: sources.Questions,
           load_path: str) -> None:
    """Scores the questions and writes the answers."""
    options = options_from_flags()
    settle(loaded, options)
    if options.group_config is not None:
        groups = train_lib.penalized_groups(loaded.net, options)
        print("living units:", _units(groups))
        thresholding.coordinate(groups)
        print("living units, once nobody reads what is dead:",
              _units(groups))
    function = scoring.net_function(loaded.net, questions.vectors, FLAGS.wy)
    scores = scoring.score(function, questions, batch_size(),
                           rules_from_flags(), test_batches())
    if FLAGS.mode == "test":
        print(scores, flush=True)
    folder, name = answer_place(load_path, questions, loaded.step)
    for path in run_lib.dump(scores, folder, name, plan_from_flags(),
                             FLAGS.answer_path):
        print(f"wrote {path}")
    if FLAGS.vis:
        path = scoring.write_probabilities(
            function, questions, batch_size(), folder / run_lib.EVAL / name,
            test_batches())
        print(f"wrote {path}")


def settle(loaded: loading.Loaded, options: train_lib.Options
           ) -> Dict[str, int]:
    """See `loading.settle`."""
    return loading.settle(loaded, options, FLAGS.load_ema, FLAGS.dead_below)


def test_batches() -> int:
    """Batches of an evaluation; 0 means all."""
    return 2 if FLAGS.debug else FLAGS.test_num_batches


def answer_place(load_path: str, questions: sources.Questions, step: int
                 ) -> Tuple[pathlib.Path, str]:
    """Where answers go, and how they are called."""
    folder = (load_path if restoring.is_run(load_path)
              else FLAGS.out_base_dir)
    return (pathlib.Path(folder),
            f"{FLAGS.mode}-{questions.judged.name}-{step:06}")


def _units(groups: List) -> str:
    return ", ".join(f"{name} {count}" for name, count in
                     callbacks.alive_units(groups).items())


def compress(loaded: loading.Loaded, questions: sources.Questions,
             load_path: str) -> None:
    """Modes shrink, export and report."""
    options = options_from_flags()
    directory = run_directory(load_path)
    directory.write_text("flags.txt", program.resumable(
        FLAGS.flags_into_string(), directory))
    if FLAGS.mode == "report":
        finish(loaded, questions, directory, options,
               restoring.past_rows(load_path),
               restoring.designed_sizes(load_path))
        return
    settle(loaded, options)
    net = loaded.net
    small, proof = finish_lib.shrink_proved(net, questions)
    if FLAGS.plot_weights:
        pipeline.draw(directory, net, small, each=True)
    if FLAGS.mode == "shrink":
        path = directory.path / "compressed.npz"
        restoring.save_weights(small, path)
        questions.vocabulary.save(directory.path / sources.VOCABULARY)
        print(scoring.score(
            scoring.net_function(small, questions.vectors, FLAGS.wy),
            questions, batch_size(), rules_from_flags(), test_batches()))
        print(f"weights: {path}")
    else:
        designed = finish_lib.designed_net(
            net, restoring.designed_sizes(load_path))
        finish_lib.export_both(
            designed, small, questions, directory, finish_lib.model_card(
                designed, questions, proof,
                training.command_line("bidaf.cli")), designed is net)
        print(f"exported to {directory.path / 'saved_model'}")


def finish(loaded: loading.Loaded, questions: sources.Questions,
           directory: runs.RunDirectory, options: train_lib.Options,
           rows: List, designed_sizes: Optional[Dict[str, int]]) -> None:
    """Scores, settles, and all that `finish_lib.finish` does."""
    def score(title):
        scores = scoring.score(
            scoring.net_function(loaded.net, questions.vectors, FLAGS.wy),
            questions, batch_size(), rules_from_flags(), test_batches(),
            title=title)
        print(f"{title}: {scores}", flush=True)
        return scores

    if loaded.averages is not None and FLAGS.load_ema:
        kept = addons.MovingAverages(loaded.net.trainable_variables, 1.)
        loaded.give_averages()
    trained = score(finish_lib.AS_TRAINED)
    if loaded.averages is not None and FLAGS.load_ema:
        kept.give()
    dead = settle(loaded, options) != {
        name: loaded.net.sizes[name]
        for name in groups_lib.shrinkable(loaded.net)}
    masked = score("masked") if dead else trained
    groups = FLAGS.group_config or "no groups"
    finish_lib.finish(
        directory, loaded.net, questions,
        training.command_line("bidaf.cli"), batch_size(),
        rules_from_flags(), trained, masked, rows, FLAGS.compare_with,
        method=options.method if FLAGS.mode == "train" else "",
        plot_weights=FLAGS.plot_weights, designed_sizes=designed_sizes,
        num_batches=test_batches(), dump=lambda scores, name: run_lib.dump(
            scores, directory.path, f"{questions.judged.name}-{name}",
            plan_from_flags()),
        title=f"BiDAF, hidden size {loaded.net.config.hidden_size}, "
              f"structure_wd {options.structure_wd:g} ({groups})")


if __name__ == "__main__":
    define_flags()
    errors.run_main(main)
