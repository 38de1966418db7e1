"""The twin as an OpenVINO graph: transformer, pooling and normalisation, built straight from ``config.json`` and safetensors.

BERT and its kin differ in the names of their tensors, in where positions begin, and, for MPNet, in a bias that depends on the
distance of two tokens: a row of `ARCHITECTURES` says how. Nothing is exported or cached and torch is never needed: building
and compiling a small model takes a tenth of a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from textsiam.encoding.folder import ModelFolder, read_object
from textsiam.encoding.runtime import op, ov
from textsiam.encoding.tensors import Tensors
from textsiam.errors import BrokenModel, UnsupportedModel

Node = Any  # OpenVINO's nodes carry no types


@dataclass(frozen=True)
class Architecture:
    """How one architecture names its tensors and settings, below `base`; ``{}`` stands for the layer's number."""

    base: str
    query: str = "encoder.layer.{}.attention.self.query"
    key: str = "encoder.layer.{}.attention.self.key"
    value: str = "encoder.layer.{}.attention.self.value"
    attention: str = "encoder.layer.{}.attention.output.dense"
    attention_norm: str = "encoder.layer.{}.attention.output.LayerNorm"
    up: str = "encoder.layer.{}.intermediate.dense"
    down: str = "encoder.layer.{}.output.dense"
    norm: str = "encoder.layer.{}.output.LayerNorm"
    n_layers: str = "num_hidden_layers"
    n_heads: str = "num_attention_heads"
    activation: str = "hidden_act"
    dim: str = "hidden_size"
    has_types: bool = True
    first_position: int | None = 0  # None: that after the padding token's id
    distance_bias: str = ""

    def tensors(self, n_layers: int) -> list[str]:
        """The names of all tensors that the graph is made of."""
        parts = [
            self.query, self.key, self.value, self.attention, self.attention_norm, self.up, self.down, self.norm,
        ]  # fmt: skip
        modules = ["embeddings.LayerNorm", *(part.format(layer) for layer in range(n_layers) for part in parts)]
        tables = ["embeddings.word_embeddings", "embeddings.position_embeddings"]
        tables += ["embeddings.token_type_embeddings"] if self.has_types else []
        tables += [self.distance_bias] if self.distance_bias else []
        return [f"{name}.weight" for name in (*tables, *modules)] + [f"{name}.bias" for name in modules]


_ROBERTA = Architecture("roberta", first_position=None)
ARCHITECTURES = {
    "bert": Architecture("bert"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": Architecture(
        "distilbert",
        query="transformer.layer.{}.attention.q_lin",
        key="transformer.layer.{}.attention.k_lin",
        value="transformer.layer.{}.attention.v_lin",
        attention="transformer.layer.{}.attention.out_lin",
        attention_norm="transformer.layer.{}.sa_layer_norm",
        up="transformer.layer.{}.ffn.lin1",
        down="transformer.layer.{}.ffn.lin2",
        norm="transformer.layer.{}.output_layer_norm",
        n_layers="n_layers",
        n_heads="n_heads",
        activation="activation",
        dim="dim",
        has_types=False,
    ),
    "mpnet": Architecture(
        "mpnet",
        query="encoder.layer.{}.attention.attn.q",
        key="encoder.layer.{}.attention.attn.k",
        value="encoder.layer.{}.attention.attn.v",
        attention="encoder.layer.{}.attention.attn.o",
        attention_norm="encoder.layer.{}.attention.LayerNorm",
        has_types=False,
        first_position=2,
        distance_bias="encoder.relative_attention_bias",
    ),
}

ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "gelu": lambda x: op.gelu(x, "erf"),
    "gelu_new": lambda x: op.gelu(x, "tanh"),
    "gelu_pytorch_tanh": lambda x: op.gelu(x, "tanh"),
    "relu": op.relu,
}


def build_graph(folder: ModelFolder) -> ov.Model:
    """The graph of a model folder: ids (n, length) int32 and mask (n, length) fp32 → embeddings (n, dim) fp32.

    Raises
    ------
    BrokenModel
        If weights are missing, unreadable, or hold NaN or infinity.
    UnsupportedModel
        If the architecture, or a setting of it, is none of those above.
    """
    config = read_object(folder.transformer / "config.json")
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise UnsupportedModel(
            f"{folder.transformer} holds a {kind}. The openvino backend knows {', '.join(ARCHITECTURES)}: use pytorch."
        )
    names = ARCHITECTURES[kind]
    _refuse_settings(folder, config, names)
    weights = Tensors(folder.transformer, names.base)
    try:
        weights.require(names.tensors(int(config[names.n_layers])))
        _refuse_other_sizes(config, names, weights)
        return _Builder(config, names, weights).model(folder.pooling, normalize=folder.normalize)
    except BrokenModel:
        raise
    except (KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise BrokenModel(
            f"The weights in {folder.transformer} cannot be read: config.json does not fit them ({error}). "
            "Restore them and config.json from where the model came from."
        ) from error


class _Builder:
    """Writes one transformer as OpenVINO operations."""

    def __init__(self, config: dict[str, Any], names: Architecture, weights: Tensors) -> None:
        self.config, self.names, self.weights = config, names, weights
        self.n_heads = int(config[names.n_heads])
        # DistilBERT's is fixed.
        self.epsilon = float(config.get("layer_norm_eps", 1e-12))
        self.first = int(config["pad_token_id"]) + 1 if names.first_position is None else names.first_position
        self.activation = ACTIVATIONS[config[names.activation]]

    def model(self, pooling: str, *, normalize: bool) -> ov.Model:
        """The whole graph."""
        ids = op.parameter([-1, -1], np.int32, name="ids")
        mask = op.parameter([-1, -1], np.float32, name="mask")
        length = op.gather(op.shape_of(ids, "i32"), np.int32(1), np.int32(0))
        x = self.embedded(ids, length)
        bias = self.attention_bias(mask, length)
        for layer in range(int(self.config[self.names.n_layers])):
            x = self.layer(x, bias, layer)
        pooled = POOLINGS[pooling](x, mask)
        if normalize:
            pooled = op.normalize_l2(pooled, np.array([1]), 1e-24, "max")
        return ov.Model([pooled], [ids, mask], "twin")

    def embedded(self, ids: Node, length: Node) -> Node:
        """The sum of word, position and type embeddings, normalised: (n, length, dim)."""
        places = self.weights["embeddings.position_embeddings.weight"][self.first :]
        if self.names.has_types:
            places = places + self.weights["embeddings.token_type_embeddings.weight"][:1]
        place = op.slice(_constant(places), _ints(0), op.unsqueeze(length, _ints(0)), _ints(1), _ints(0))
        words = op.gather(_constant(self.weights["embeddings.word_embeddings.weight"]), ids, np.int32(0))
        return self.norm(op.add(words, op.unsqueeze(place, _ints(0))), "embeddings.LayerNorm")

    def attention_bias(self, mask: Node, length: Node) -> Node:
        """What is added to the attention's logits, so that no token sees padding: (n, 1 or heads, length or 1, length)."""
        hidden = op.multiply(op.subtract(mask, np.float32(1)), np.float32(1e9))
        bias = op.unsqueeze(hidden, _ints(1, 2))
        if not self.names.distance_bias:
            return bias
        table = self.weights[f"{self.names.distance_bias}.weight"]
        n = len(self.weights["embeddings.position_embeddings.weight"])
        by_distance = table[_mpnet_bucket(np.arange(1 - n, n), len(table))]
        places = op.range(np.int32(0), length, np.int32(1), "i32")
        distances = op.subtract(op.unsqueeze(places, _ints(0)), op.unsqueeze(places, _ints(1)))
        found = op.gather(_constant(by_distance), op.add(distances, np.int32(n - 1)), np.int32(0))
        return op.add(bias, op.unsqueeze(op.transpose(found, _ints(2, 0, 1)), _ints(0)))

    def layer(self, x: Node, bias: Node, number: int) -> Node:
        """One layer: attention, then the two linear maps, each added to what came in and normalised."""
        names = self.names
        query, key, value = (
            self.heads(self.linear(x, name.format(number))) for name in (names.query, names.key, names.value)
        )
        attended = op.scaled_dot_product_attention(query, key, value, bias)
        merged = op.reshape(op.transpose(attended, _ints(0, 2, 1, 3)), _ints(0, 0, -1), special_zero=True)
        x = self.norm(
            op.add(x, self.linear(merged, names.attention.format(number))), names.attention_norm.format(number)
        )
        wide = self.activation(self.linear(x, names.up.format(number)))
        return self.norm(op.add(x, self.linear(wide, names.down.format(number))), names.norm.format(number))

    def heads(self, x: Node) -> Node:
        """(n, length, dim) → (n, heads, length, dim of a head)."""
        parts = op.reshape(x, _ints(0, 0, self.n_heads, -1), special_zero=True)
        return op.transpose(parts, _ints(0, 2, 1, 3))

    def linear(self, x: Node, name: str) -> Node:
        """``x @ weight.T + bias``."""
        product = op.matmul(x, _constant(self.weights[f"{name}.weight"]), transpose_a=False, transpose_b=True)
        return op.add(product, _constant(self.weights[f"{name}.bias"]))

    def norm(self, x: Node, name: str) -> Node:
        """Layer normalisation over the last axis."""
        scaled = op.mvn(x, _ints(-1), normalize_variance=True, eps=self.epsilon, eps_mode="inside_sqrt")
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return op.add(op.multiply(scaled, _constant(weight)), _constant(bias))


def _mean(tokens: Node, mask: Node) -> Node:
    weights = op.unsqueeze(mask, _ints(2))
    total = op.reduce_sum(op.multiply(tokens, weights), _ints(1))
    return op.divide(total, op.maximum(op.reduce_sum(weights, _ints(1)), np.float32(1)))


def _cls(tokens: Node, mask: Node) -> Node:  # noqa: ARG001  one signature for the family
    return op.gather(tokens, np.int32(0), np.int32(1))


def _maximum(tokens: Node, mask: Node) -> Node:
    hidden = op.multiply(op.subtract(mask, np.float32(1)), np.float32(1e9))
    return op.reduce_max(op.add(tokens, op.unsqueeze(hidden, _ints(2))), _ints(1))


# textsiam.encoding.pooling, as operations of a graph.
POOLINGS: dict[str, Callable[[Node, Node], Node]] = {"mean": _mean, "cls": _cls, "max": _maximum}


def _constant(values: Shaped[np.ndarray, "..."]) -> Node:
    return op.constant(np.ascontiguousarray(values), shared_memory=True)


def _ints(*values: int) -> Shaped[np.ndarray, " n"]:
    return np.array(values, dtype=np.int32)


def _mpnet_bucket(distance: Shaped[np.ndarray, " n"], n_buckets: int) -> Shaped[np.ndarray, " n"]:
    """The row of MPNet's bias table for a distance (key − query): near ones each their own, far ones by logarithm (T5)."""
    half, exact, farthest = n_buckets // 2, n_buckets // 4, 128
    away = np.abs(distance)
    ratio = np.log(np.maximum(away, 1) / exact) / np.log(farthest / exact)
    far = np.minimum(exact + (ratio * (half - exact)).astype(np.int64), half - 1)
    return np.asarray(np.where(distance > 0, half, 0) + np.where(away < exact, away, far))


def _refuse_other_sizes(config: dict[str, Any], names: Architecture, weights: Tensors) -> None:
    """Raise ValueError where the settings tell of other sizes than the weights have."""
    words, places = (weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position"))
    for key, told, found in (
        ("vocab_size", config["vocab_size"], words.shape[0]),
        (names.dim, config[names.dim], words.shape[1]),
        ("max_position_embeddings", config["max_position_embeddings"], places.shape[0]),
        (names.n_heads, words.shape[1] % int(config[names.n_heads]), 0),
    ):
        if told != found:
            raise ValueError(f"{key} is {config[key]!r}, and the weights are made for another")


def _refuse_settings(folder: ModelFolder, config: dict[str, Any], names: Architecture) -> None:
    for key, allowed in (
        ("position_embedding_type", ("absolute", None)),
        ("is_decoder", (False, None)),
        ("add_cross_attention", (False, None)),
        (names.activation, tuple(ACTIVATIONS)),
    ):
        if config.get(key) not in allowed:
            raise UnsupportedModel(
                f"{folder.transformer} has {key} {config.get(key)!r}, which the openvino backend lacks. Use pytorch."
            )
