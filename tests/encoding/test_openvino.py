"""The backend without torch: the vectors of transformers' own forward, its precision classes, and what it refuses."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tokenizers import Regex
from tokenizers.normalizers import Replace

from textsiam import Encoder, Siamese
from textsiam.encoding.backends import BACKENDS
from textsiam.encoding.model_folder.layout import read_folder
from textsiam.encoding.openvino.architectures import ARCHITECTURES
from textsiam.encoding.openvino.backend import MANY, N_PACKED, can_compute, filled, load_openvino
from textsiam.encoding.openvino.graph import POOLINGS, build_graph
from textsiam.encoding.processor import _quota, computes_bf16, n_threads
from textsiam.encoding.pytorch.twin import POOLINGS as TORCH_POOLINGS
from textsiam.encoding.tokenizing import batches_of
from textsiam.errors import BrokenModel, MissingExtra, UnsupportedModel


def batch(length=48, n=9, seed=0):
    rng = np.random.default_rng(seed)
    lengths = np.array([length, *rng.integers(1, length, n - 1)])
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return rng.integers(7, 40, mask.shape) * mask, mask


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("normalize", [True, False])
def test_equal_to_transformers(tiny_transformer, architecture, pooling, normalize):
    """Oracle: transformers' own padded forward with torch's pooling, to 1e-5, for every architecture and pooling."""
    import torch
    from transformers import AutoModel

    from textsiam.encoding.pytorch.twin import Twin

    folder = replace(read_folder(tiny_transformer(architecture)), pooling=pooling, normalize=normalize)
    twin = Twin(
        AutoModel.from_pretrained(folder.path, attn_implementation="eager"), pooling, normalize=normalize
    ).eval()
    ids, mask = batch()
    with torch.inference_mode():
        expected = twin(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(load_openvino(folder, "cpu", "float32").embed(ids, mask), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_packed_and_padded_are_equal(tiny_transformer, architecture):
    """Few texts are packed, many padded: the same vectors to 1e-6, also of a text longer than is packed with others."""
    twin = load_openvino(read_folder(tiny_transformer(architecture)), dtype="float32")
    for length, n in ((1, 3), (2, 40), (48, 30)):
        ids, mask = batch(length, n) if length > 1 else (np.full((n, 1), 9), np.ones((n, 1), dtype=np.int64))
        padded = twin._several((ids.astype(np.int32), mask.astype(np.float32)))
        np.testing.assert_allclose(twin.embed(ids, mask), padded, atol=1e-6)
    assert mask.sum() > 2 * N_PACKED


def test_the_paddings_token_in_a_text_takes_no_position(tiny_transformer):
    """RoBERTa's kin count tokens without it, wherever it stands. Oracle: transformers' own padded forward."""
    import torch
    from transformers import AutoModel

    from textsiam.encoding.pytorch.twin import Twin, load_twin

    for architecture in ("roberta", "mpnet", "bert"):
        folder = read_folder(tiny_transformer(architecture))
        oracle = Twin(
            AutoModel.from_pretrained(folder.path, attn_implementation="eager"), "mean", normalize=folder.normalize
        )
        padding = oracle.transformer.config.pad_token_id
        ids, mask = batch(12, 6)
        ids[mask == 0] = padding
        ids[0, 4], ids[1, 0], ids[2, :2] = padding, padding, padding
        with torch.inference_mode():
            expected = oracle.eval()(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        twin = load_openvino(folder, dtype="float32")
        np.testing.assert_allclose(twin.embed(ids, mask), expected, atol=1e-5)
        found = twin._several((ids.astype(np.int32), mask.astype(np.float32)))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(load_twin(folder, "cpu", "float32").embed(ids, mask), expected, atol=1e-5)


def test_a_text_without_a_token_gets_zeros(tiny_transformer):
    """A tokenizer without special tokens may leave nothing: beside others and alone, the similarity is 0, not garbage."""
    folder = read_folder(tiny_transformer("bert"))
    for backend in BACKENDS:
        encoder = Encoder(folder, backend, device="cpu", dtype="float32")
        encoder.tokenizer._tokenizer.post_processor = None
        encoder.tokenizer._tokenizer.normalizer = Replace(Regex("[?]"), "")
        assert encoder.tokenizer(["???"]).lengths.tolist() == [0]
        vectors = encoder.encode(["pay", "???", "pay my order"])
        assert not vectors[1].any()
        assert vectors[[0, 2]].any(1).all()
        assert not encoder.encode(["???"]).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_encodes(tiny_transformer, backend):
    """After few texts and after many in the parent, with threads that the child has not; it does not wait for them."""
    run = """
import os, sys, numpy as np
from pathlib import Path
from textsiam import Encoder
encoder = Encoder.load(Path(sys.argv[1]), backend=sys.argv[2], device="cpu", dtype="float32")
texts = [f"pay order {n} {'my ' * (n % 40)}" for n in range(500)]
expected = encoder.encode(texts)
child = os.fork()
if not child:
    found = encoder.encode(texts), encoder.encode(texts[:3])
    os._exit(0 if np.abs(found[0] - expected).max() < 1e-5 and np.abs(found[1] - expected[:3]).max() < 1e-5 else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    told = [sys.executable, "-W", "ignore", "-c", run, str(tiny_transformer("bert")), backend]
    subprocess.run(told, check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "2"})


def test_weights_written_over_are_noticed(tiny_transformer, tmp_path):
    """What is compiled later is compiled of the same weights, or not at all."""
    shutil.copytree(tiny_transformer("bert"), tmp_path / "model")
    twin = load_openvino(read_folder(tmp_path / "model"), dtype="float32")
    file = tmp_path / "model" / "model.safetensors"
    with file.open("r+b") as stream:  # as cp does: the same file with new content
        stream.seek(-4, os.SEEK_END)
        stream.write(b"\0\0\0\0")
    os.utime(file, ns=(1, 1))
    with pytest.raises(BrokenModel, match="changed while the model was in use"):
        list(twin.embed_many([batch()] * MANY))


def test_weights_replaced_are_still_those_that_were_read(tiny_transformer, tmp_path):
    """A model saved to the folder it came from, or whose folder is gone, goes on with the weights it has."""
    folder = tmp_path / "model"
    model = Siamese.load(tiny_transformer("bert"), backend="openvino", dtype="float32")
    texts = [f"pay order {n} {'my ' * (n % 40)}" for n in range(1500)]
    expected = model.encode(texts)
    model.save(folder)
    for change in (lambda of: of.save(folder), lambda _: shutil.rmtree(folder)):
        again = Siamese.load(folder, backend="openvino", dtype="float32")
        change(again)
        np.testing.assert_allclose(again.encode(texts), expected, atol=1e-6)


def test_what_is_released_is_made_again(tiny_transformer):
    """The memory of what was compiled is given back, and the next call gives the same vectors."""
    for backend in BACKENDS:
        encoder = Encoder.load(tiny_transformer("bert"), backend=backend, dtype="float32", device="cpu")
        texts = [f"pay order {n} {'my ' * (n % 40)}" for n in range(700)]
        expected = encoder.encode(texts)
        encoder.release()
        assert "_few" not in vars(encoder.backend)
        np.testing.assert_array_equal(encoder.encode(texts), expected)


def test_other_weights_beside_the_models_are_not_read(tiny_transformer, tmp_path):
    """Only model.safetensors, or the files that its index names, as transformers reads them."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_transformer("bert"), folder)
    expected = Encoder.load(folder, backend="openvino", dtype="float32").encode(["pay my order"])
    altered(folder, tmp_path / "other", lambda tensors: tensors.update({k: v * 2 for k, v in tensors.items()}))
    shutil.copyfile(tmp_path / "other" / "model.safetensors", folder / "model_old.safetensors")
    np.testing.assert_array_equal(
        Encoder.load(folder, backend="openvino", dtype="float32").encode(["pay my order"]), expected
    )
    names = list(load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001.safetensors")}))
    for backend in BACKENDS:
        found = Encoder.load(folder, backend=backend, dtype="float32", device="cpu").encode(["pay my order"])
        np.testing.assert_allclose(found, expected, atol=1e-6)
    index.write_text(json.dumps({"weight_map": ["model-00001.safetensors"]}))
    with pytest.raises(BrokenModel, match="does not say which file"):
        Encoder.load(folder, backend="openvino")


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_a_device_has_several_names(tiny_transformer, device):
    """As torch writes it too."""
    folder = tiny_transformer("bert")
    assert Encoder.load(folder, device=device).backend_name == "openvino"


@pytest.mark.parametrize("backend", BACKENDS)
def test_pickled_it_is_read_again(tiny_transformer, backend):
    """What was compiled does not travel: the copy reads the folder, and gives the same vectors."""
    encoder = Encoder.load(tiny_transformer("bert"), backend=backend, device="cpu", dtype="float32")
    again = pickle.loads(pickle.dumps(encoder))  # noqa: S301  our own
    assert (again.backend_name, again.precision) == (backend, "float32")
    np.testing.assert_array_equal(again.encode(["pay my order"]), encoder.encode(["pay my order"]))
    encoder.backend = object()
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(encoder)


def test_distances_reach_the_far_buckets_of_mpnet(tmp_path):
    """MPNet's bias by distance, logarithmic beyond 8 tokens and constant beyond 128. Oracle: transformers' own."""
    import torch
    from transformers import MPNetConfig, MPNetModel

    from textsiam.encoding.openvino.graph import _mpnet_bucket

    config = MPNetConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=16)
    encoder = MPNetModel(config).encoder
    distances = torch.arange(-300, 301)
    expected = encoder.relative_position_bucket(distances, num_buckets=config.relative_attention_num_buckets)
    found = _mpnet_bucket(distances.numpy(), config.relative_attention_num_buckets)
    np.testing.assert_array_equal(found, expected.numpy())


def test_poolings_are_those_of_torch():
    """Whatever pools in torch pools in the graph."""
    assert POOLINGS.keys() == TORCH_POOLINGS.keys()


def test_auto_takes_it_and_falls_back(tiny_transformer, caplog):
    """What it knows runs in it, even without torch; what it does not runs in PyTorch, and that is said."""
    assert type(Encoder.load(tiny_transformer("bert")).backend).__name__ == "OpenVinoTwin"
    with caplog.at_level(logging.INFO, "textsiam"):
        assert type(Encoder.load(tiny_transformer("modernbert")).backend).__name__ == "Twin"
    assert "holds a modernbert" in caplog.text
    assert type(Encoder.load(tiny_transformer("bert"), dtype="float16").backend).__name__ == "Twin"
    with pytest.raises(UnsupportedModel, match="knows bert, roberta"):
        Encoder.load(tiny_transformer("modernbert"), backend="openvino")


def test_precision_follows_the_processor(tiny_transformer):
    """bf16 where it is native, else fp32; both can be asked for by name; a class that is not here is refused."""
    encoder = Encoder.load(tiny_transformer("bert"), backend="openvino")
    assert encoder.precision == ("bfloat16" if computes_bf16() else "float32")
    assert Encoder.load(tiny_transformer("bert"), backend="openvino", dtype="float32").precision == "float32"
    assert can_compute(None)
    assert can_compute("torch.float32")
    assert not can_compute("float16")
    with pytest.raises(ValueError, match="does not know the dtype"):
        Encoder.load(tiny_transformer("bert"), backend="openvino", dtype="float16")
    with pytest.raises(ValueError, match="on the CPU, not on 'cuda'"):
        Encoder.load(tiny_transformer("bert"), backend="openvino", device="cuda")


@pytest.mark.skipif(not computes_bf16(), reason="this processor does not compute bf16")
def test_bf16_stays_near_fp32(model):
    """Unit lengths in fp32, and a cosine above .999 with the fp32 vectors."""
    texts = [
        "How do I reset my password?",
        "Where is my order?",
        "I was charged twice, can I get my money back please?",
    ]
    vectors = Encoder.load(backend="openvino", dtype="bfloat16").encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert ((vectors * model.encode(texts)).sum(1) > 0.999).all()


def altered(folder, target, change):
    """A copy of the folder whose weights `change` has altered in place."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_broken_weights_are_refused(tiny_transformer, tmp_path):
    """A missing tensor, a NaN, and a file cut short each have an error that names the remedy."""
    folder = tiny_transformer("bert")
    name = "encoder.layer.1.output.dense.weight"
    lacking = altered(folder, tmp_path / "lacking", lambda tensors: tensors.pop(name))
    with pytest.raises(BrokenModel, match=f"lack 1 tensors, such as {name}"):
        Encoder.load(lacking, backend="openvino")

    def spoil(tensors):
        tensors[name][0, 0] = np.nan

    with pytest.raises(BrokenModel, match="NaN or infinite"):
        Encoder.load(altered(folder, tmp_path / "nan", spoil), backend="openvino")
    cut = altered(folder, tmp_path / "cut", lambda _: None) / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(BrokenModel, match="cannot be read"):
        Encoder.load(cut.parent, backend="openvino")


def test_names_of_other_writers_are_read(tiny_transformer, tmp_path):
    """Tensors below the model's own prefix, and a normalisation's old names gamma and beta."""

    def rename(tensors):
        for key in list(tensors):
            new = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[f"bert.{new}"] = tensors.pop(key)

    folder = tiny_transformer("bert")
    renamed = altered(folder, tmp_path / "renamed", rename)
    ids, mask = batch()
    expected = load_openvino(read_folder(folder), dtype="float32").embed(ids, mask)
    np.testing.assert_array_equal(load_openvino(read_folder(renamed), dtype="float32").embed(ids, mask), expected)


def test_other_settings_are_refused(tiny_transformer, tmp_path):
    """What the graph would compute wrongly it does not compute."""
    shutil.copytree(tiny_transformer("bert"), tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    told = json.loads(config.read_text())
    for key, value in (("hidden_act", "swish"), ("is_decoder", True), ("position_embedding_type", "relative_key")):
        config.write_text(json.dumps(told | {key: value}))
        with pytest.raises(UnsupportedModel, match=key):
            build_graph(read_folder(tmp_path / "model"))


def test_weights_in_half_precision_run(tiny_transformer, tmp_path):
    """Weights in fp16 and bf16 are read as they are."""
    import torch
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    folder = tiny_transformer("bert")
    for dtype in (torch.float16, torch.bfloat16):
        target = tmp_path / str(dtype)
        shutil.copytree(folder, target)
        tensors = {name: tensor.to(dtype) for name, tensor in load_torch(folder / "model.safetensors").items()}
        save_torch(tensors, target / "model.safetensors", metadata={"format": "pt"})
        encoder = Encoder.load(target, backend="openvino", dtype="float32")
        torch_vectors = Encoder.load(target, backend="pytorch", dtype="float32", device="cpu").encode(["pay my order"])
        np.testing.assert_allclose(encoder.encode(["pay my order"]), torch_vectors, atol=1e-5)


def test_int8_needs_a_processor_that_adds_exactly(tiny_transformer, monkeypatch):
    """Elsewhere it is refused by name, whichever way it is asked for."""
    monkeypatch.setattr("textsiam.encoding.openvino.backend.computes_int8", lambda: False)
    assert not can_compute("int8")
    for backend in ("auto", "openvino"):
        with pytest.raises(ValueError, match="no VNNI"):
            Encoder.load(tiny_transformer("bert"), backend=backend, dtype="int8")
    with pytest.raises(ValueError, match="Use backend openvino"):
        Encoder.load(tiny_transformer("bert"), backend="pytorch", dtype="int8")


def test_without_it_pytorch_runs(tiny_transformer, monkeypatch):
    """Not installed: auto takes PyTorch, and asking for it by name gives the install line."""
    monkeypatch.setattr("textsiam.encoding.backends.find_spec", lambda _: None)
    assert type(Encoder.load(tiny_transformer("bert"), device="cpu").backend).__name__ == "Twin"
    with pytest.raises(MissingExtra, match=r"textsiam\[fast\]"):
        BACKENDS["openvino"](read_folder(tiny_transformer("bert")), None, None)


def test_threads_are_those_of_omp(tiny_transformer, monkeypatch):
    """OMP_NUM_THREADS holds here as for every other library; without it, one a core."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    twin = load_openvino(read_folder(tiny_transformer("bert")))
    assert twin.n_threads == twin._few.compiled.get_property("INFERENCE_NUM_THREADS") == 1
    for told in ("nonsense", "1000", "", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert 1 <= n_threads() <= os.cpu_count()
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")  # as OpenMP reads it: for parallel loops inside one another
    assert n_threads() == 1


@pytest.mark.parametrize(
    ("told", "expected"), [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("nonsense", None)]
)
def test_a_containers_quota_counts(tmp_path, told, expected):
    """A container granted one and a half processors' time computes with two threads, however many it sees."""
    file = tmp_path / "cpu.max"
    file.write_text(f"{told}\n")
    assert _quota(file) == (expected or os.cpu_count())
    assert _quota(tmp_path / "none") == os.cpu_count()


@pytest.mark.parametrize("threads", [1, 2])
def test_many_batches_at_a_time_change_nothing(tiny_transformer, monkeypatch, threads):
    """The same vectors in the same order, a batch a thread, as a batch alone gives; read to the end or not."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    twin = load_openvino(read_folder(tiny_transformer("bert")), dtype="float32")
    assert twin.n_threads == min(threads, os.cpu_count())
    batches = [batch(length=5 + seed, n=3 + seed % 7, seed=seed) for seed in range(3 * MANY)]
    found = list(twin.embed_many(batches))
    for one, vectors in zip(batches, found, strict=True):
        np.testing.assert_allclose(vectors, twin.embed(*one), atol=1e-6)
    half = twin.embed_many(batches)
    next(half)
    half.close()  # what is under way ends, and the next call is as if nothing had been
    for again, vectors in zip(twin.embed_many(batches), found, strict=True):
        np.testing.assert_array_equal(again, vectors)
    assert list(twin.embed_many([])) == []


@given(calls=st.lists(st.lists(st.integers(3, 256), min_size=1, max_size=300), min_size=1, max_size=20))
def test_batches_of_all_calls_have_few_shapes(calls):
    """OpenVINO keeps kernels for each: numbers of rows come again, and long texts share their lengths."""
    shapes = set()
    for lengths in calls:
        for rows in batches_of(np.array(lengths), 512, 32):
            length = max(lengths[row] for row in rows)
            ids, mask = filled(*np.ones((2, len(rows), length), dtype=np.int64))
            assert mask.sum() == len(rows) * length
            shapes.add(ids.shape)
    assert all(n in {1, 2, 4} or n % 8 == 0 for n, _ in shapes)
    assert all(length <= 32 or length % 4 == 0 for _, length in shapes)


def test_several_threads_may_call(tiny_transformer, monkeypatch):
    """As a service does: each gets its own texts' vectors."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    encoder = Encoder.load(tiny_transformer("bert"), backend="openvino", dtype="float32")
    texts = [[f"pay {'my order ' * (place % 7)}", f"refund {'a ' * (place % 5)}"] for place in range(200)]
    expected = [encoder.encode(some) for some in texts]
    with ThreadPoolExecutor(8) as pool:
        for found, vectors in zip(pool.map(encoder.encode, texts), expected, strict=True):
            np.testing.assert_allclose(found, vectors, atol=1e-6)


def test_a_score_needs_neither_torch_nor_transformers(tmp_path):
    """The command line's first answer comes without their seconds of import."""
    code = (
        "import sys; from textsiam.interfaces.cli import app; sys.argv = ['textsiam', {argv}]\n"
        "try: app()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {{'torch', 'transformers', 'sklearn', 'datasets', 'scipy.stats', 'pandas'}} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    (tmp_path / "questions.csv").write_text("text\nHow do I pay?\nHow can I pay?\nWhere is it?\n")
    for argv in (
        ["score", "--pair", "How do I pay?", "How can I pay?"],
        ["duplicates", str(tmp_path / "questions.csv")],
    ):
        command = [sys.executable, "-c", code.format(argv=", ".join(map(repr, argv)))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_nothing_reaches_for_the_network():
    """OpenVINO's own import would start a process that reports to a server; ours starts none, and leaves the module be."""
    code = (
        "import sys; calls = []\n"
        "watched = {'socket.connect', 'socket.getaddrinfo', 'subprocess.Popen', 'os.fork', 'os.posix_spawn'}\n"
        "sys.addaudithook(lambda event, told: calls.append((event, told)) if event in watched else None)\n"
        "from textsiam import Siamese; Siamese.load(backend='openvino').score(['a'], ['b'])\n"
        "assert not calls, calls\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
        "import threading; assert threading.active_count() == 1, threading.enumerate()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_processes_with_fewer_threads_than_cores_share_no_core():
    """Two that OpenVINO pinned to the first core took twice as long beside each other."""
    from textsiam.encoding.processor import n_cores

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        backend = Encoder.load(backend="openvino", device="cpu").backend
    assert n_cores() == 1 or not backend._few.compiled.get_property("ENABLE_CPU_PINNING")
