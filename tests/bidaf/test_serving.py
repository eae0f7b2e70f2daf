"""An exported BiDAF: checked, loaded, and the same as the net."""

import bidaf_questions
import numpy as np
import pytest

from bidaf import answering
from bidaf import model as model_lib
from bidaf import options as options_lib
from bidaf import scoring
from bidaf import serving
from bidaf import train as train_lib
from bidaf.data import sources
from iss_rnns import errors
from iss_rnns import export

# Whatever a net may consist of: all of it must count as computing.
SWITCHES = {
    "default": {},
    "apart": {
        "share_lstm_weights": False,
        "share_cnn_weights": False,
        "na": True,
        "logit_func": "proj",
        "answer_func": "proj",
    },
    "dynamic": {"dynamic_att": True, "answer_func": "sum", "highway": False},
}


@pytest.fixture(name="questions", scope="module")
def fixture_questions(tmp_path_factory):
    return bidaf_questions.read_questions(tmp_path_factory.mktemp("questions"))


def new_net(questions, **switches):
    config = model_lib.ModelConfig(
        hidden_size=4,
        char_emb_size=2,
        char_out_size=3,
        out_channel_dims="3",
        highway_num_layers=1,
        **switches,
    )
    options = options_lib.Options(model=config, seed=5)
    return train_lib.new_net(options.for_data(questions), questions)


@pytest.mark.parametrize("name", SWITCHES)
def test_B31_an_export_is_checked_and_says_the_same(name, questions, tmp_path):
    net = new_net(questions, **SWITCHES[name])
    path = serving.save(net, questions, tmp_path / "model", {})
    _, batch = next(sources.judged_batches(questions, 3))
    expected = scoring.net_function(net, questions.vectors)(batch)
    found = serving.ServedBiDAF(path)(batch)
    assert {"start", "end"} <= set(found)
    for each, value in found.items():
        np.testing.assert_allclose(value, expected[each], atol=1e-5)
    model = export.load(path)
    assert model.manifest.sizes == net.sizes
    assert model.manifest.states == {}
    ids = answering.Reading.of(questions).words
    assert model.vocabulary.ids == ids
    outputs = model(
        **{long: batch[short] for short, long in serving.INPUTS.items()}
    )
    np.testing.assert_allclose(outputs["start"], expected["start"], atol=1e-5)
    if name == "default":
        file = path / serving.VOCABULARY
        file.write_text(file.read_text() + " ")
        for load in (export.load, serving.ServedBiDAF):
            with pytest.raises(errors.UserError, match="json is damaged: it h"):
                load(path)
