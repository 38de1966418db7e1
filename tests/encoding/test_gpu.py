"""A GPU gives what the CPU gives; skipped, and counted, where there is none. Figures: `benchmarks/gpu.py`."""

import numpy as np
import pytest
import torch

from textsiam import Encoder
from textsiam.encoding.pytorch.packing import flash_attention

TEXTS = ["pay", "where is the refund of my order", "how do i reset my password", "a b c", "pay " * 40] * 7

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet"])
def test_fp32_on_a_gpu_is_fp32_on_the_cpu(tiny_transformer, architecture):
    folder = tiny_transformer(architecture)
    exact = Encoder.load(folder, backend="pytorch", device="cpu", dtype="float32").encode(TEXTS)
    np.testing.assert_allclose(Encoder.load(folder, device="cuda", dtype="float32").encode(TEXTS), exact, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_bf16_packs_through_flash_attention(tiny_transformer, architecture):
    folder = tiny_transformer(architecture)
    encoder = Encoder.load(folder, device="cuda", dtype="bfloat16")
    assert encoder.backend.packs == (flash_attention() is not None)
    exact = Encoder.load(folder, backend="pytorch", device="cpu", dtype="float32").encode(TEXTS)
    assert ((encoder.encode(TEXTS) * exact).sum(1) > 0.999).all()
