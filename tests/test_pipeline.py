"""What follows training, as far as the programs' tests leave it out."""

from iss_rnns import pipeline


def row(epoch, seconds, units):
    """As `metrics.csv` is read: values are text."""
    return {"epoch": str(epoch), "seconds": str(seconds),
            "words_per_second": "1000.0", "train_perplexity": "90.0",
            "valid_perplexity": "100.0", "units/lstm_0": str(units),
            "units/lstm_1": f"{units}.0", "units_above_0.05/lstm_0": "1"}


def test_the_whole_time_stands_beside_that_at_the_first_speed():
    table = pipeline.epochs_table([row(1, 600., 8), row(2, 780., 5),
                                   row(3, 900., 4)]).as_dict()
    assert table["units"] == {
        "epoch 1": [8, 8], "epoch 2": [5, 5], "epoch 3": [4, 4],
        "all": None, "all, at the first one's speed": None}
    assert table["minutes"] == {
        "epoch 1": 10., "epoch 2": 3., "epoch 3": 2., "all": 15.,
        "all, at the first one's speed": 30.}
    assert table["valid perplexity"]["epoch 2"] == 100.


def test_one_epoch_has_no_sum():
    assert list(pipeline.epochs_table([row(1, 60., 8)]).measures) == [
        "epoch 1"]
