"""The authors' names of a net's weights."""

from collections.abc import Mapping

from bidaf.net import attention_cell
from bidaf.net import groups
from bidaf.net import layers
from iss_rnns import files
from iss_rnns.interop import tf1

# The authors' scopes of LSTM layers, and of the two directions of each.
SCOPES = {
    "prepro/u1": groups.PREPROCESSING,
    "main/g0": groups.MODELLING_1,
    "main/g1": groups.MODELLING_2,
    "main/g2": groups.OUTPUT,
}
WAYS = ("fw", "bw")


def views(net) -> dict[str, tf1.View]:
    """The authors' variables by name, in the order they make them.

    Args:
      net: a `model.BiDAF`.
    """
    found = {}
    if net.config.use_char_emb:
        found["emb/emb_var/char_emb_mat"] = tf1.plain(net.char_embedding)
    for scope, cnn in net.cnns.items():
        found.update(cnn.tf1_views(f"emb/char/conv/{scope}"))
    if net.config.use_word_emb:
        found["emb/emb_var/word_emb_mat"] = tf1.plain(net.word_embedding)
    for i, layer in enumerate(net.highway):
        found.update(layer.tf1_views(f"highway/highway_network/layer_{i}"))
    lstms = {
        scope: _lstm_views(scope, layer)
        for scope, layer in net.two_way_layers().items()
    }
    for scope in [s for s in lstms if s.startswith("prepro")]:
        found.update(lstms[scope])
    if net.similarity is not None:
        found.update(net.similarity.tf1_views("main/p0/bi_attention/u_logits"))
    found.update({**lstms["main/g0"], **lstms["main/g1"]})
    found.update(net.answers[0].tf1_views("main/logits1"))
    found.update(lstms["main/g2"])
    found.update(net.answers[1].tf1_views("main/logits2"))
    if net.na_bias is not None:
        found["main/na_bias"] = tf1.plain(net.na_bias)
    return found


def sizes_of(arrays: Mapping[str, files.AnyArray]) -> dict[str, int]:
    """Sizes of the LSTM directions of a model given by those names."""
    scopes = {
        name: f"{scope}/{way}"
        for scope, names in SCOPES.items()
        for name, way in zip(names, WAYS)
    }
    sizes = {}
    for name, scope in scopes.items():
        for cell in ("basic_lstm_cell", "AttentionCell/basic_lstm_cell"):
            array = arrays.get(f"{scope}/{cell}/bias")
            if array is not None:
                sizes[name] = array.size // 4
    return sizes


def _lstm_views(scope: str, layer: layers.TwoWay) -> dict[str, tf1.View]:
    views = {}
    for direction, cell in zip(WAYS, layer.cells):
        if isinstance(cell, attention_cell.AttentionCell):
            views.update(cell.tf1_views(f"{scope}/{direction}"))
            continue
        name = f"{scope}/{direction}/basic_lstm_cell"
        views[f"{name}/kernel"] = tf1.lstm_matrix(cell)
        views[f"{name}/bias"] = tf1.lstm_bias(cell)
    return views
