"""The model as an OpenVINO graph: transformer, pooling and normalisation, built from ``config.json`` and safetensors.

The differences between BERT, RoBERTa, DistilBERT and MPNet are in `textsiam.encoding.openvino.architectures`. Nothing is
exported or cached, and torch is not needed: building and compiling a small model takes a tenth of a second.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from textsiam.encoding.model_folder.folder import ModelFolder, read_object
from textsiam.encoding.openvino.architectures import ARCHITECTURES, Architecture
from textsiam.encoding.openvino.runtime import op, ov
from textsiam.encoding.openvino.tensors import Tensors
from textsiam.errors import BrokenModel, UnsupportedModel

Node = Any  # OpenVINO's nodes carry no types
Weights = Float[np.ndarray, "d_out d_in"]
Product = Callable[[Node, str, Weights], Node]  # input, name of the linear layer, its weights → their product


def multiply(x: Node, name: str, weights: Weights) -> Node:  # noqa: ARG001  one signature for the family
    """``x @ weights.T``."""
    return op.matmul(x, constant(weights), transpose_a=False, transpose_b=True)


def constant(values: Shaped[np.ndarray, "..."]) -> Node:
    """These numbers as a node, without a copy."""
    return op.constant(np.ascontiguousarray(values), shared_memory=True)


def ints(*values: int) -> Shaped[np.ndarray, " n"]:
    """Axes, places or sizes as an int32 array, for operations."""
    return np.array(values, dtype=np.int32)


ACTIVATIONS: dict[str, Callable[[Node], Node]] = {
    "gelu": lambda x: op.gelu(x, "erf"),
    "gelu_new": lambda x: op.gelu(x, "tanh"),
    "gelu_pytorch_tanh": lambda x: op.gelu(x, "tanh"),
    "relu": op.relu,
}


def build_graph(folder: ModelFolder, product: Product = multiply) -> "Graph":
    """The graph of a model folder, whose linear layers multiply by `product`.

    Raises `BrokenModel` if weights are missing or unreadable, or hold NaN or infinity; `UnsupportedModel` if the architecture
    is not in `ARCHITECTURES`, or has a setting that this backend lacks.
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
    with _readable(folder):
        weights.require(names.tensors(int(config[names.n_layers])))
        _refuse_other_sizes(config, names, weights)
        return Graph(folder, config, weights, product)


class Graph:
    """A transformer with pooling and normalisation, as OpenVINO operations. Made by `build_graph`."""

    def __init__(self, folder: ModelFolder, config: dict[str, Any], weights: Tensors, product: Product) -> None:
        self.folder, self.config, self.weights, self.product = folder, config, weights, product
        self.names = names = ARCHITECTURES[config["model_type"]]
        self.n_heads = int(config[names.n_heads])
        self.epsilon = float(config.get("layer_norm_eps", 1e-12))  # DistilBERT has no such setting
        # RoBERTa and similar models number positions after the padding id, and skip padding tokens anywhere in a text.
        self.padding = int(config.get("pad_token_id", 1)) if names.padding is None else names.padding
        self.activation = ACTIVATIONS[config[names.activation]]

    def padded(self, *, with_tokens: bool = False) -> ov.Model:
        """For padded batches: ids (n, length) int32 and mask (n, length) fp32 → embeddings (n, dim) fp32.

        `with_tokens` gives the vectors of the tokens, too, which costs some percent in bf16.
        """
        ids, mask = op.parameter([-1, -1], np.int32, name="ids"), op.parameter([-1, -1], np.float32, name="mask")
        length = op.gather(op.shape_of(ids, "i32"), np.int32(1), np.int32(0))
        places = op.range(np.int32(0), length, np.int32(1), "i32")
        hidden = op.multiply(op.subtract(mask, np.float32(1)), np.float32(1e9))
        with _readable(self.folder):
            self.weights.check()
            tokens = self.transformed(ids, places, op.unsqueeze(hidden, ints(1, 2)))
            outputs = [self.pooled(tokens, mask), *([tokens] if with_tokens else [])]
            return ov.Model(outputs, [ids, mask], "padded")

    def packed(self) -> ov.Model:
        """For few tokens: texts one after another, without padding, but with attention computed between all texts.

        Inputs: ids (1, total) int32; places (total) and texts (total) int32, the position of each token and its text; rows
        (n, length) int32, the tokens of each text; mask (n, length) fp32. Outputs, both fp32: embeddings (n, dim), and the
        vectors of the tokens (n, length, dim).
        """
        ids, rows = (op.parameter([-1, -1], np.int32, name=name) for name in ("ids", "rows"))
        places, texts = (op.parameter([-1], np.int32, name=name) for name in ("places", "texts"))
        mask = op.parameter([-1, -1], np.float32, name="mask")
        same = op.equal(op.unsqueeze(texts, ints(0)), op.unsqueeze(texts, ints(1)))
        hidden = op.select(same, np.float32(0), np.float32(-1e9))
        with _readable(self.folder):
            self.weights.check()
            tokens = self.transformed(ids, places, op.unsqueeze(hidden, ints(0, 1)), at_once=self.product is multiply)
            tokens = op.gather(op.squeeze(tokens, ints(0)), rows, np.int32(0))
            return ov.Model([self.pooled(tokens, mask), tokens], [ids, places, texts, rows, mask], "packed")

    def pooled(self, tokens: Node, mask: Node) -> Node:
        """The embeddings of texts from those of their tokens."""
        pooled = POOLINGS[self.folder.pooling](tokens, mask)
        return op.normalize_l2(pooled, np.array([1]), 1e-24, "max") if self.folder.normalize else pooled

    def transformed(self, ids: Node, places: Node, hidden: Node, *, at_once: bool = False) -> Node:
        """The last layer's embeddings of tokens, (n, length, dim).

        `hidden` is added to the attention logits, so that no token attends to padding or to another text. `at_once` computes
        query, key and value by one product: faster for few tokens, a little slower for many.
        """
        x = self.embedded(ids, places)
        if self.names.distance_bias:
            hidden = op.add(hidden, self.distance_bias(places))
        for layer in range(int(self.config[self.names.n_layers])):
            x = self.layer(x, hidden, layer, at_once=at_once)
        return x

    def embedded(self, ids: Node, places: Node) -> Node:
        """The sum of word, position and type embeddings, normalised: (n, length, dim)."""
        table = self.weights["embeddings.position_embeddings.weight"]
        if self.names.has_types:
            table = table + self.weights["embeddings.token_type_embeddings.weight"][:1]
        positions = op.unsqueeze(places, ints(0)) if self.padding < 0 else self.counted(ids, places)
        place = op.gather(constant(table), positions, np.int32(0))
        words = op.gather(constant(self.weights["embeddings.word_embeddings.weight"]), ids, np.int32(0))
        return self.norm(op.add(words, place), "embeddings.LayerNorm")

    def counted(self, ids: Node, places: Node) -> Node:
        """Each token's position: the number of tokens of its text up to it, without padding tokens, plus the padding id."""
        real = op.convert(op.not_equal(ids, np.int32(self.padding)), np.int32)
        counted = op.cum_sum(real, np.int32(1))
        # Packed texts are counted together, so subtract the count at the beginning of each text.
        length = op.gather(op.shape_of(ids, "i32"), np.int32(1), np.int32(0))
        first = op.subtract(op.range(np.int32(0), length, np.int32(1), "i32"), places)
        before = op.gather(op.subtract(counted, real), first, np.int32(1))
        return op.add(op.multiply(op.subtract(counted, before), real), np.int32(self.padding))

    def distance_bias(self, places: Node) -> Node:
        """The bias of the logits by the distance of two tokens: (1, heads, length, length)."""
        table = self.weights[f"{self.names.distance_bias}.weight"]
        n = len(self.weights["embeddings.position_embeddings.weight"])
        by_distance = table[_mpnet_bucket(np.arange(1 - n, n), len(table))]
        distances = op.subtract(op.unsqueeze(places, ints(0)), op.unsqueeze(places, ints(1)))
        found = op.gather(constant(by_distance), op.add(distances, np.int32(n - 1)), np.int32(0))
        return op.unsqueeze(op.transpose(found, ints(2, 0, 1)), ints(0))

    def layer(self, x: Node, hidden: Node, number: int, *, at_once: bool) -> Node:
        """One layer: attention, then two linear maps, each with a residual connection and normalisation."""
        names = self.names
        three = [name.format(number) for name in (names.query, names.key, names.value)]
        if at_once:
            parts = op.split(self.linear(x, *three), np.int32(2), 3).outputs()
        else:
            parts = [self.linear(x, name) for name in three]
        query, key, value = map(self.heads, parts)
        attended = op.scaled_dot_product_attention(query, key, value, hidden)
        merged = op.reshape(op.transpose(attended, ints(0, 2, 1, 3)), ints(0, 0, -1), special_zero=True)
        x = self.norm(
            op.add(x, self.linear(merged, names.attention.format(number))), names.attention_norm.format(number)
        )
        wide = self.activation(self.linear(x, names.up.format(number)))
        return self.norm(op.add(x, self.linear(wide, names.down.format(number))), names.norm.format(number))

    def heads(self, x: Node) -> Node:
        """(n, length, dim) → (n, heads, length, dim of a head)."""
        parts = op.reshape(x, ints(0, 0, self.n_heads, -1), special_zero=True)
        return op.transpose(parts, ints(0, 2, 1, 3))

    def linear(self, x: Node, *names: str) -> Node:
        """``x @ weight.T + bias``; for several layers with one input, side by side."""
        weights, biases = ([self.weights[f"{name}.{part}"] for name in names] for part in ("weight", "bias"))
        return op.add(self.product(x, names[0], _beneath(weights)), constant(_beneath(biases)))

    def norm(self, x: Node, name: str) -> Node:
        """Layer normalisation over the last axis."""
        scaled = op.mvn(x, ints(-1), normalize_variance=True, eps=self.epsilon, eps_mode="inside_sqrt")
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return op.add(op.multiply(scaled, constant(weight)), constant(bias))


def _beneath(parts: list[Float[np.ndarray, "..."]]) -> Float[np.ndarray, "..."]:
    """The arrays one below the other. A single one is not copied, because it is mapped from a file."""
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


@contextmanager
def _readable(folder: ModelFolder) -> Iterator[None]:
    """Turns errors of settings that do not fit the weights into `BrokenModel`, with the folder's name."""
    try:
        yield
    except BrokenModel:
        raise
    except (KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise BrokenModel(
            f"The weights in {folder.transformer} cannot be read: config.json does not fit them ({error}). "
            "Restore them and config.json from the model's source."
        ) from error


def _mean(tokens: Node, mask: Node) -> Node:
    weights = op.unsqueeze(mask, ints(2))
    total = op.reduce_sum(op.multiply(tokens, weights), ints(1))
    return op.divide(total, op.maximum(op.reduce_sum(weights, ints(1)), np.float32(1)))


def _cls(tokens: Node, mask: Node) -> Node:  # noqa: ARG001  one signature for the family
    return op.gather(tokens, np.int32(0), np.int32(1))


def _maximum(tokens: Node, mask: Node) -> Node:
    hidden = op.multiply(op.subtract(mask, np.float32(1)), np.float32(1e9))
    return op.reduce_max(op.add(tokens, op.unsqueeze(hidden, ints(2))), ints(1))


# The same as in textsiam.encoding.pytorch.twin, as operations of a graph.
POOLINGS: dict[str, Callable[[Node, Node], Node]] = {"mean": _mean, "cls": _cls, "max": _maximum}


def _mpnet_bucket(distance: Shaped[np.ndarray, " n"], n_buckets: int) -> Shaped[np.ndarray, " n"]:
    """The row of MPNet's bias table for a distance (key − query): one per near distance, logarithmic for far ones (T5)."""
    half, exact, farthest = n_buckets // 2, n_buckets // 4, 128
    away = np.abs(distance)
    ratio = np.log(np.maximum(away, 1) / exact) / np.log(farthest / exact)
    far = np.minimum(exact + (ratio * (half - exact)).astype(np.int64), half - 1)
    return np.asarray(np.where(distance > 0, half, 0) + np.where(away < exact, away, far))


def _refuse_other_sizes(config: dict[str, Any], names: Architecture, weights: Tensors) -> None:
    """Raise `ValueError` if the sizes in the settings are not those of the weights."""
    words, places = (weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position"))
    for key, stated, found in (
        ("vocab_size", config["vocab_size"], words.shape[0]),
        (names.dim, config[names.dim], words.shape[1]),
        ("max_position_embeddings", config["max_position_embeddings"], places.shape[0]),
        (names.n_heads, words.shape[1] % int(config[names.n_heads]), 0),
    ):
        if stated != found:
            raise ValueError(f"{key} is {config[key]!r}, but the weights are made for another")


def _refuse_settings(folder: ModelFolder, config: dict[str, Any], names: Architecture) -> None:
    for key, allowed in (
        ("is_decoder", (False, None)),
        ("add_cross_attention", (False, None)),
        (names.activation, tuple(ACTIVATIONS)),
    ):
        if config.get(key) not in allowed:
            raise UnsupportedModel(
                f"{folder.transformer} has {key} {config.get(key)!r}, which the openvino backend lacks. Use pytorch."
            )
