"""Packing: the same hidden states as with padding, forward and backward, for every architecture; and no padding computed."""

import logging
from copy import deepcopy

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModel

from textsiam import Encoder
from textsiam.encoding.model_folder.layout import read_folder
from textsiam.encoding.pytorch.packing import MULTIPLE, PACKING, can_pack, can_pack_on, heads_fit
from textsiam.encoding.pytorch.twin import Twin, computes_bf16, load_twin
from textsiam.encoding.pytorch.weights import FrozenLinear, can_lay_out
from textsiam.encoding.tokenizing import Tokenizer

LENGTHS = (9, 9, 5, 5, 5, 2, 9, 1, 48)  # neighbours of one length, a straggler, the longest


def batch(lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return torch.from_numpy(rng.integers(7, 40, mask.shape) * mask), torch.from_numpy(mask)


def twins(folder):
    """The same weights packed and padded."""
    packed = load_twin(read_folder(folder), "cpu", "float32", trainable=True)
    padded = Twin(AutoModel.from_pretrained(folder), "mean", normalize=packed.normalize).eval()
    return packed, padded


@pytest.mark.parametrize("architecture", PACKING)
def test_packed_equals_padded(tiny_transformer, architecture):
    """Oracle: transformers' own padded forward, to 1e-5, for every architecture that packs, whatever the order of rows."""
    packed, padded = twins(tiny_transformer(architecture))
    if not packed.packs and (architecture, transformers.__version__) == ("modernbert", "5.0.0"):
        pytest.skip("this transformers gives ModernBERT no other attention")
    assert packed.packs
    with torch.inference_mode():
        torch.testing.assert_close(packed(*batch()), padded(*batch()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", PACKING)
def test_gradients_of_packed_equal_those_of_padded(tiny_transformer, architecture):
    """Training on packed texts makes the same update."""
    packed, padded = twins(tiny_transformer(architecture))
    for twin in (packed, padded):
        vectors = twin(*batch())
        (vectors[0::2][:4] * vectors[1::2]).sum().backward()
    found = dict(padded.named_parameters())
    for name, weights in packed.named_parameters():
        if weights.grad is not None and ".pooler." not in name:
            expected = found[name].grad
            torch.testing.assert_close(
                weights.grad, expected, atol=1e-5 * max(1.0, float(expected.abs().max())), rtol=0
            )


def test_attention_windows_are_kept(tmp_path):
    """ModernBERT's local layers see no farther packed than padded, also where a text is longer than the window."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "modernbert", vocab_size=64, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=66, local_attention=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
        sep_token_id=2,
    )  # fmt: skip
    padded = Twin(AutoModel.from_config(config)).eval()
    packed = Twin(AutoModel.from_config(deepcopy(config))).eval()
    packed.load_state_dict(padded.state_dict())
    packed.pack()
    with torch.inference_mode():
        torch.testing.assert_close(packed(*batch()), padded(*batch()), atol=1e-5, rtol=0)


def test_no_padding_is_computed(tiny_transformer):
    """The linear layers see the real tokens, and fewer than MULTIPLE more."""
    twin = load_twin(read_folder(tiny_transformer("bert")), "cpu", "float32", trainable=True)
    seen = []
    layer = next(part for part in twin.modules() if isinstance(part, torch.nn.Linear))
    layer.register_forward_hook(lambda *told: seen.append(told[-1].shape[:-1].numel()))
    ids, mask = batch()
    twin.embed(ids.numpy(), mask.numpy())
    assert sum(LENGTHS) <= seen[0] < sum(LENGTHS) + MULTIPLE
    assert seen[0] < mask.numel() / 2  # the test's batch is mostly padding


def test_what_cannot_pack_runs_padded_and_says_so(tiny_transformer, caplog):
    """MPNet ignores transformers' attention interface, and a decoder looks one way: neither packs."""
    with caplog.at_level(logging.INFO, "textsiam"):
        twin = load_twin(read_folder(tiny_transformer("mpnet")), "cpu", "float32")
    assert not twin.packs
    assert "mpnet runs with padding" in caplog.text
    config = AutoConfig.for_model("bert", hidden_size=32, num_hidden_layers=1, num_attention_heads=4, vocab_size=64)
    assert can_pack(AutoModel.from_config(config))
    config.is_decoder = True
    assert not can_pack(AutoModel.from_config(config))


@pytest.mark.parametrize("architecture", [*PACKING, "mpnet"])
@pytest.mark.parametrize("lay_out", [True, False])
def test_frozen_equals_padded(tiny_transformer, architecture, lay_out, monkeypatch):
    """Linear layers laid out for oneDNN, and the fallback where torch has none, give transformers' own vectors to 1e-5."""
    if not lay_out:
        monkeypatch.setattr("textsiam.encoding.pytorch.weights.can_lay_out", lambda _: False)
    folder = tiny_transformer(architecture)
    frozen = load_twin(read_folder(folder), "cpu", "float32")
    padded = Twin(AutoModel.from_pretrained(folder), "mean", normalize=frozen.normalize).eval()
    layers = [layer for layer in frozen.modules() if isinstance(layer, FrozenLinear)]
    assert layers
    assert {layer.laid_out for layer in layers} == {lay_out and can_lay_out()}
    assert not any(type(layer) is torch.nn.Linear for layer in frozen.modules())
    with torch.inference_mode():
        torch.testing.assert_close(frozen(*batch()), padded(*batch()), atol=1e-5, rtol=0)


def test_frozen_bf16_rounds_less_than_a_whole_model_in_bf16(model):
    """Only the linear layers compute in bf16: the vectors lie nearer to those of fp32, and the class is named."""
    texts = [
        "How do I reset my password?",
        "Where is my order?",
        "I was charged twice, can I get my money back please?",
    ]
    expected = model.encode(texts)
    frozen = Encoder.load(backend="pytorch", device="cpu", dtype="bfloat16")
    whole = Encoder(frozen.folder, load_twin(frozen.folder, "cpu", "float32", trainable=True).to(torch.bfloat16))
    assert frozen.precision == whole.precision == "bfloat16"
    assert np.abs(frozen.encode(texts) - expected).max() < np.abs(whole.encode(texts) - expected).max()


def test_bf16_stays_near_fp32(model):
    """On the default model bf16 vectors, packed, have a cosine above 0.999 with the fp32 ones."""
    texts = [
        "How do I reset my password?",
        "Where is my order?",
        "I was charged twice, can I get my money back please?",
    ]
    vectors = Encoder.load(device="cpu", dtype="bfloat16").encode(texts)
    assert ((vectors * model.encode(texts)).sum(1) > 0.999).all()


def test_lora_packs(tiny_transformer):
    """Adapters beside the linear layers change nothing about packing."""
    from textsiam.training.towers import add_lora

    packed, padded = twins(tiny_transformer("bert"))
    add_lora(packed, rank=2, seed=0)  # starts as the identity
    with torch.inference_mode():
        torch.testing.assert_close(packed(*batch()), padded(*batch()), atol=1e-5, rtol=0)


def test_bf16_is_found_where_the_cpu_has_it():
    """What the CPU says of itself decides, not what torch can emulate."""
    flags = torch.cpu.get_capabilities()
    assert computes_bf16(torch.device("cpu")) == bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
    assert not computes_bf16(torch.device("meta"))


def test_cut_text_packs_at_the_maximum_length(tiny_transformer):
    """A text of exactly the longest length stands at the last position that the model knows, RoBERTa's offset included."""
    folder = read_folder(tiny_transformer("roberta"))
    tokens = Tokenizer(folder.transformer, folder.max_length)(["pay " * 500, "pay"])
    assert tokens.lengths.max() == folder.max_length
    vectors = load_twin(folder, "cpu", "float32").embed(*tokens.padded(np.arange(2), 5))
    assert np.isfinite(vectors).all()


def test_heads_that_flash_attention_refuses_run_padded(tiny_transformer):
    """Some small models have heads of 26 numbers; and no CPU has flash attention."""
    assert [heads_fit(size) for size in (8, 26, 64, 256, 264)] == [True, False, True, True, False]
    assert not can_pack_on(AutoModel.from_pretrained(tiny_transformer("bert")), torch.device("cpu"))
