"""Flags that stand for those of a run, without what made its net small."""

from absl import flags
import pytest

from iss_rnns import errors
from iss_rnns.experiments import from_scratch


def test_the_flags_of_the_run_come_first_and_those_given_win(tmp_path):
    run = tmp_path / "small"
    run.mkdir()
    (run / "flags.txt").write_text("--seed=3\n--compare_with=runs/dense\n")
    given = ["--epochs=4", f"--from_scratch_of={run}"]
    assert from_scratch.expanded(given) == [
        f"--flagfile={run}/flags.txt",
        "--run_name=small_from_scratch",
        "--restore_path=",
        f"--compare_with=runs/dense,{run}",
        *given,
    ]
    apart = ["--from_scratch_of", str(run)]
    assert from_scratch.expanded(apart)[-2:] == apart
    assert len(from_scratch.expanded(apart)) == 6


def test_others_and_those_of_a_run_that_goes_on_stay_as_they_are():
    for args in (["--seed=1"], ["--from_scratch_of=gone", "--resume"]):
        assert from_scratch.expanded(args) == args


def test_a_run_that_is_not_there_or_not_over_is_told(tmp_path):
    with pytest.raises(errors.UserError, match="cannot read flags .*nowhere"):
        from_scratch.expanded([f"--from_scratch_of={tmp_path}/nowhere"])
    with pytest.raises(errors.UserError, match="give a run that has ended"):
        from_scratch.found_sizes(str(tmp_path))


def test_what_makes_a_net_small_is_dropped_and_nothing_else():
    values = flags.FlagValues()
    for name in ("from_scratch_of", "target_units", "pruning_start", "seed"):
        flags.DEFINE_string(name, None, "", flag_values=values)
    flags.DEFINE_float("structure_wd", 0.0, "", flag_values=values)
    given = ["--target_units=0.4", "--structure_wd=1", "--seed=3"]
    given += ["--pruning_start=2"]
    values(["program", *given])
    from_scratch.drop_sparsity(values)
    assert (values.target_units, values.structure_wd) == ("0.4", 1.0)
    values(["program", *given, "--from_scratch_of=run"])
    from_scratch.drop_sparsity(values)
    assert values.flag_values_dict() == {
        "from_scratch_of": "run",
        "target_units": None,
        "pruning_start": None,
        "seed": "3",
        "structure_wd": 0.0,
    }
