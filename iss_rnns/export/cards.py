"""The page beside an exported model that says what it is."""

from collections.abc import Mapping

import iss_rnns
from iss_rnns.export import proving
from iss_rnns.export import reading
from iss_rnns.export import source as source_lib

FILE = "model_card.md"  # in the folder of a model that is one


def text(
    source: source_lib.Source,
    facts: Mapping[str, str],
    proof: proving.Proof,
    metric: str = "",
) -> str:
    """The page, as Markdown; without a date, so that the same model has the same.

    Args:
      source: the model.
      facts: of the file: format, weights' type, bytes, and the like.
      proof: what was measured.
      metric: name of it.
    """
    (name,) = reading.unique([source.name])
    rows = {
        **facts,
        "units": ", ".join(
            f"{plain} {n}"
            for plain, n in zip(
                reading.unique(list(source.sizes)), source.sizes.values()
            )
        )
        or "none",
        "inputs": "; ".join(
            f"{each.name} {each.dtype} "
            f"[{', '.join(str(n or '?') for n in each.shape)}]"
            for each in source.inputs
        ),
        "outputs": ", ".join(source.outputs),
        "largest difference of an output from the model's, on random inputs": (
            f"{proof.random_difference:.2g}"
        ),
    }
    if proof.difference is not None:
        rows[f"the same on {proof.batches} batches of data"] = (
            f"{proof.difference:.2g}"
        )
    if proof.before is not None and proof.after is not None:
        rows[f"{metric or 'metric'} (less is better), model"] = (
            f"{proof.before:.6g}"
        )
        rows["the same, exported"] = f"{proof.after:.6g}"
    if proof.loss is None:
        rows["loss on data"] = "not measured"
    lines = [f"| {key} | {value} |" for key, value in rows.items()]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"Exported by iss_rnns {iss_rnns.__version__}.",
            "",
            "| | |",
            "|---|---|",
            *lines,
            "",
        ]
    )
