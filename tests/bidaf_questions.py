"""A few questions, made up."""

from bidaf.data import read_data
from bidaf.data import sources


def read_questions(folder):
    """Those that the program makes up, too."""
    store = sources.open_store("synthetic", folder, 60, 16, 2)
    return sources.for_training(
        store,
        read_data.DataConfig(
            len_opt=True, word_count_th=1, char_count_th=2, batch_size=6
        ),
    )
