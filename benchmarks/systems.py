"""The systems that are measured beside each other: a name, and a function that loads it and gives texts → vectors (n, dim).

Every system gets the same weights, those of the embedded default, and two threads. onnxruntime runs through textsiam's own door
(its tokenizer, its batches), so that runtimes are compared and not what stands around them; OpenVINO runs as its manual says, on
what `convert_model` makes of transformers' model, in padded batches of 32.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from textsiam.encoding.encoder import Encoder
from textsiam.encoding.model_folder.finding import embedded_model, find_model
from textsiam.encoding.model_folder.layout import read_folder

Encode = Callable[[list[str]], np.ndarray]


def ours(backend: str, dtype: str | None) -> Callable[[], Encode]:
    def load() -> Encode:
        encoder = Encoder.load(embedded_model(), backend=backend, device="cpu", dtype=dtype)
        return lambda texts: encoder.embed(texts).embeddings

    return load


def sentence_transformers(dtype: str) -> Callable[[], Encode]:
    def load() -> Encode:
        import torch
        from sentence_transformers import SentenceTransformer

        settings = {"model_kwargs": {"torch_dtype": getattr(torch, dtype)}}
        model = SentenceTransformer(str(embedded_model()), device="cpu", **settings)
        return lambda texts: model.encode(texts, convert_to_tensor=True).float().numpy()

    return load


class OnnxBackend:
    """onnxruntime as a backend of `Encoder`."""

    precision, token_budget, padding_budget = "float32", 2_048, 64

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def embed(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"ids": ids, "mask": mask})[0]

    def embed_many(self, batches):
        return (self.embed(*batch) for batch in batches)


def onnxruntime(precision: str) -> Callable[[], Encode]:
    def load() -> Encode:
        folder = Path(tempfile.mkdtemp())
        file = export_onnx(folder / "fp32.onnx")
        if precision == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic

            file = folder / "int8.onnx"
            quantize_dynamic(folder / "fp32.onnx", file, weight_type=QuantType.QInt8, per_channel=True)
        encoder = Encoder(read_folder(embedded_model()), OnnxBackend(file))
        return lambda texts: encoder.embed(texts).embeddings

    return load


def export_onnx(file: Path) -> Path:
    """The twin with its pooling as an ONNX file."""
    import warnings

    import torch

    twin, example = padded_twin()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            twin, example, str(file), input_names=["ids", "mask"], output_names=["vectors"], dynamo=False, opset_version=17,
            dynamic_axes={"ids": {0: "n", 1: "length"}, "mask": {0: "n", 1: "length"}},
        )  # fmt: skip
    return file


def padded_twin() -> tuple[Any, Any]:
    """The twin as transformers runs it, and an input to trace it with."""
    import torch
    from transformers import AutoModel

    from textsiam.encoding.pytorch.twin import Twin

    twin = Twin(AutoModel.from_pretrained(embedded_model(), attn_implementation="sdpa")).eval()
    ids = torch.randint(1000, 2000, (2, 8))
    return twin, (ids, torch.tensor([[1] * 8, [1] * 5 + [0] * 3]))


def openvino(precision: str) -> Callable[[], Encode]:
    def load() -> Encode:
        sys.modules["openvino_telemetry"] = None  # it reports to a server
        import openvino as ov
        from transformers import AutoTokenizer

        twin, example = padded_twin()
        graph = ov.convert_model(twin, example_input=example)
        request = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": precision}).create_infer_request()
        tokenizer = AutoTokenizer.from_pretrained(str(embedded_model()))

        def encode(texts: list[str]) -> np.ndarray:
            order = np.argsort([-len(text) for text in texts], kind="stable")
            vectors = np.empty((len(texts), 384), dtype=np.float32)
            for start in range(0, len(order), 32):
                rows = order[start : start + 32]
                some = [texts[row] for row in rows]
                tokens = tokenizer(some, padding=True, truncation=True, max_length=256, return_tensors="np")
                vectors[rows] = request.infer([tokens["input_ids"], tokens["attention_mask"]])[0]
            return vectors

        return encode

    return load


SYSTEMS: dict[str, Callable[[], Encode]] = {
    "sentence-transformers fp32": sentence_transformers("float32"),
    "sentence-transformers bf16": sentence_transformers("bfloat16"),
    "onnxruntime fp32": onnxruntime("fp32"),
    "onnxruntime int8": onnxruntime("int8"),
    "OpenVINO fp32": openvino("f32"),
    "OpenVINO bf16": openvino("bf16"),
    "textsiam fp32": ours("openvino", "float32"),
    "textsiam bf16": ours("openvino", "bfloat16"),
    "textsiam int8": ours("openvino", "int8"),
    "textsiam PyTorch fp32": ours("pytorch", "float32"),
    "textsiam PyTorch bf16": ours("pytorch", "bfloat16"),
}


def scorer(dtype: str | None) -> Callable[[], Encode]:
    """`Siamese.score` as users call it: the first half of the texts against the second."""

    def load() -> Encode:
        from textsiam import Siamese

        model = Siamese.load(embedded_model(), dtype=dtype)
        return lambda texts: model.score(texts[: len(texts) // 2], texts[len(texts) // 2 :])

    return load


SCORERS: dict[str, Callable[[], Encode]] = {
    "Siamese.score": scorer(None),
    "Siamese.score fp32": scorer("float32"),
    "Siamese.score bf16": scorer("bfloat16"),
    "Siamese.score int8": scorer("int8"),
}


GpuEncode = Callable[[list[str], int], np.ndarray]


def on_gpu(
    system: Callable[[str], GpuEncode], dtype: str
) -> Callable[[], Callable[[tuple[list[str], int, int]], np.ndarray]]:
    """One system on a GPU: texts, the peer's batch size, and how many texts a call has → vectors on the CPU."""

    def load() -> Callable[[tuple[list[str], int, int]], np.ndarray]:
        encode = system(dtype)

        def encoded(asked: tuple[list[str], int, int]) -> np.ndarray:
            texts, batch, call = asked
            return np.concatenate([encode(texts[at : at + call], batch) for at in range(0, len(texts), call)])

        return encoded

    return load


def ours_on_gpu(dtype: str) -> GpuEncode:
    encoder = Encoder.load(device="cuda", dtype=dtype)
    return lambda texts, _: encoder.embed(texts).embeddings


def peer_on_gpu(dtype: str) -> GpuEncode:
    import torch
    from sentence_transformers import SentenceTransformer

    settings = {"model_kwargs": {"torch_dtype": getattr(torch, dtype)}}
    model = SentenceTransformer(str(find_model()), device="cuda", **settings)
    return lambda texts, batch: model.encode(texts, batch_size=batch, convert_to_tensor=True).float().cpu().numpy()


GPU_SYSTEMS = {
    "sentence-transformers bf16 on GPU": on_gpu(peer_on_gpu, "bfloat16"),
    "textsiam bf16 on GPU": on_gpu(ours_on_gpu, "bfloat16"),
    "textsiam fp32 on GPU": on_gpu(ours_on_gpu, "float32"),
}
