"""Random models: units as noted while they are built, and `shrink`.

A few in `make test`; `pytest tests/conformance/test_any_model_random.py
--long` tries 500.
"""

import any_checks
import any_graphs
import hypothesis
from hypothesis import strategies
import tensorflow as tf

FEW, MANY = 4, 500


def settings(examples):
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        # Smaller examples take a minute to find, and are not much smaller.
        phases=[hypothesis.Phase.generate],
    )


def test_random_models_lose_their_dead_units_and_nothing_else(request):
    examples = MANY if request.config.getoption("long") else FEW
    seen = []

    @settings(examples)
    @hypothesis.given(strategies.data())
    def check(data):
        tf.keras.backend.clear_session()

        def draw(options):
            return data.draw(strategies.sampled_from(list(options)))

        steps = data.draw(strategies.integers(2, 8))
        seed = data.draw(strategies.integers(0, 2**32 - 1))
        case, model, places, dead = any_graphs.random_case(draw, steps, seed)
        any_checks.check_model(case, model, places, dead)
        seen.append(sum(int(units.sum()) for units in dead.values()))

    check()
    assert sum(n > 0 for n in seen) >= examples // 3
