"""Linear layers in int8: weights with one scale per row, inputs with one scale per layer, measured on the sample questions.

Two methods make one scale per layer enough. In square and widening layers, each channel of the input is divided, and its column
of weights multiplied, by the root of the ratio of their ranges (SmoothQuant; Xiao et al. 2023, equation 4, alpha = 1/2). In the
narrowing layer after the activation, a few channels have ten times the range of the others; they are multiplied separately,
without int8 (the idea of LLM.int8; Dettmers et al. 2022). Cosines of English questions still change by .003 on average and by
.02 at most, ten times as much as in bf16. Those of other languages, or of mere digits, which are not in the samples, change
twice as much.
"""

import hashlib
import zlib
from collections.abc import Iterator
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float, Int

from textsiam.data.files import replacing
from textsiam.data.readers import read_texts
from textsiam.encoding.model_folder.folder import ModelFolder, cache_folder
from textsiam.encoding.openvino.graph import Node, Product, Weights, build_graph, constant, multiply
from textsiam.encoding.openvino.runtime import op, ov
from textsiam.encoding.processor import n_threads
from textsiam.encoding.tokenizing import Tokenizer
from textsiam.samples import QUESTIONS

# Channels of a narrowing layer's input that are multiplied separately: with fewer, cosines change more; more take longer.
N_APART = 16
_CHECK = "sha256"  # the name of the hash in the file of ranges

Range = Float[np.ndarray, "2 d_in"]  # the least and the greatest value of each channel


def in_int8(ranges: dict[str, Range]) -> Product:
    """The product of linear layers in int8, for inputs of these ranges."""

    def product(x: Node, name: str, weights: Weights) -> Node:
        low, high = ranges[name]
        d_out, d_in = weights.shape
        if d_in > d_out:
            return _with_outliers_apart(x, weights, low, high)
        evened = np.maximum(np.maximum(-low, high), 1e-5) ** 0.5 / np.maximum(np.abs(weights).max(0), 1e-5) ** 0.5
        evened = (evened / np.exp(np.log(evened).mean())).astype(np.float32)
        return _rounded(op.multiply(x, constant(1 / evened)), weights * evened, low / evened, high / evened)

    return product


def _with_outliers_apart(
    x: Node, weights: Weights, low: Float[np.ndarray, " d"], high: Float[np.ndarray, " d"]
) -> Node:
    apart = np.sort(np.argsort(-np.maximum(-low, high))[: min(N_APART, len(low) // 2)]).astype(np.int32)
    rest = weights.copy()
    rest[:, apart] = 0  # so that the int8 error of these channels does not matter
    inside = np.setdiff1d(np.arange(len(low)), apart)
    outliers = multiply(op.gather(x, apart, np.int32(-1)), "", weights[:, apart])
    return op.add(_rounded(x, rest, low[inside], high[inside]), outliers)


def _rounded(x: Node, weights: Weights, low: Float[np.ndarray, " d"], high: Float[np.ndarray, " d"]) -> Node:
    """The product in int8, which OpenVINO derives from a rounded input and from weights that are int8 times a scale."""
    least, greatest = min(float(low.min()), 0.0), max(float(high.max()), 1e-5)
    step = (greatest - least) / 255
    zero = round(-least / step)
    bounds = np.float32(-zero * step), np.float32((255 - zero) * step)
    x = op.fake_quantize(x, *bounds, *bounds, 256)
    scale = np.maximum(np.abs(weights).max(1, keepdims=True), 1e-12) / 127
    rounded = op.convert(constant(np.rint(weights / scale).astype(np.int8)), np.float32)
    return op.matmul(x, op.multiply(rounded, constant(scale.astype(np.float32))), transpose_a=False, transpose_b=True)


def input_ranges(folder: ModelFolder) -> dict[str, Range]:
    """The range of each channel of each linear layer's input on the sample questions; kept in the user's cache folder."""
    name = f"ranges-{folder.fingerprint()}.npz"
    try:
        with (cache_folder() / name).open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            ranges = dict(kept)
        if _check_sum(ranges) == str(ranges.pop(_CHECK)):
            return ranges
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, BadZipFile, zlib.error):
        pass  # no file yet, damaged, or a user without a home
    ranges = _measured(folder)
    try:
        file = cache_folder() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as new, new.open("wb") as target:
            np.savez(target, **ranges, **{_CHECK: _check_sum(ranges)})  # type: ignore[arg-type]
    except (OSError, RuntimeError):
        pass  # they will be measured again
    return ranges


def _check_sum(ranges: dict[str, Range]) -> str:
    """A hash of names and numbers, to detect damage."""
    found = hashlib.sha256()
    for name in sorted(set(ranges) - {_CHECK}):
        found.update(name.encode() + np.ascontiguousarray(ranges[name]).tobytes())
    return found.hexdigest()


def _measured(folder: ModelFolder) -> dict[str, Range]:
    inputs: dict[str, Node] = {}

    def watched(x: Node, name: str, weights: Weights) -> Node:
        inputs[name] = x
        return multiply(x, name, weights)

    graph = build_graph(folder, watched).padded()
    # Query, key and value share one input.
    nodes = list({node.get_friendly_name(): node for node in inputs.values()}.values())
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": n_threads()}
    request = ov.Core().compile_model(ov.Model(nodes, graph.get_parameters()), "CPU", settings).create_infer_request()
    ranges: dict[str, Range] = {}
    for ids in _sample_ids(folder):
        found = request.infer({"ids": ids, "mask": np.ones(ids.shape, dtype=np.float32)})
        for node, values in zip(nodes, found.values(), strict=True):
            low, high = values.min((0, 1)), values.max((0, 1))
            least, greatest = ranges.get(node.get_friendly_name(), (low, high))
            ranges[node.get_friendly_name()] = np.stack([np.minimum(low, least), np.maximum(high, greatest)])
    return {name: ranges[node.get_friendly_name()] for name, node in inputs.items()}


def _sample_ids(folder: ModelFolder) -> Iterator[Int[np.ndarray, "n length"]]:
    """The sample questions as token ids, grouped by length, so that there is no padding."""
    tokens = Tokenizer(folder.transformer, folder.max_length, lowercase=folder.lowercase)(
        list(read_texts(QUESTIONS, column="question"))
    )
    for length in np.unique(tokens.lengths):
        yield tokens.padded(np.flatnonzero(tokens.lengths == length), 0)[0].astype(np.int32)
