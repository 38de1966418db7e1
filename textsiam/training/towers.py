"""Towers: modules that map prepared inputs to vectors, one per input.

Any ``nn.Module`` may be a tower. The text tower takes the first and second texts of a batch in one pass. It orders them by
length, in groups of nearly equal lengths, so that little padding is computed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from textsiam.encoding.encoder import Encoder
from textsiam.encoding.pytorch.twin import Twin
from textsiam.errors import MissingExtra

Group = tuple[Int[Tensor, "_ _"], Int[Tensor, "_ _"]]  # ids and mask of texts of nearly equal lengths


class TextTower(nn.Module):
    """The twin over groups of texts.

    Parameters
    ----------
    twin
        The encoder to train.
    recompute
        Keep only the vectors of a group, and compute its activations again in the backward pass. The gradients are the same;
        the memory is that of one group, and the cost one more forward pass. Batches with thousands of in-batch negatives then
        fit (gradient caching, Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup",
        algorithm 1, here by torch's checkpointing).
    """

    def __init__(self, twin: Twin, *, recompute: bool = False) -> None:
        super().__init__()
        self.twin = twin
        self.recompute = recompute

    def forward(self, groups: list[Group], order: Int[Tensor, " n"]) -> Float[Tensor, "n dim"]:
        """The embeddings of all groups' texts; row i belongs to the text at place ``order[i]`` in the groups."""
        if self.recompute and self.training:
            vectors = [checkpoint(self.twin, ids, mask, use_reentrant=False) for ids, mask in groups]
        else:
            vectors = [self.twin(ids, mask) for ids, mask in groups]
        return torch.cat(vectors)[order]


def text_preparer(encoder: Encoder, n_tokens: int) -> Callable[[list[str]], dict[str, Any]]:
    """A function from texts to `TextTower`'s inputs.

    Parameters
    ----------
    encoder
        Its tokenizer and default prompt are used.
    n_tokens
        The most tokens per group, padding included; a single text may have more.
    """
    before, pad_id = encoder.prompt_text(None), encoder.tokenizer.pad_id()

    def prepare(texts: list[str]) -> dict[str, Any]:
        tokens = encoder.tokenizer([before + text for text in texts])
        lengths = tokens.lengths
        longest_first = np.argsort(-lengths, kind="stable")
        groups = []
        start = 0
        while start < len(longest_first):
            rows = longest_first[start : start + max(1, n_tokens // int(lengths[longest_first[start]]))]
            ids, mask = tokens.padded(rows, pad_id)
            groups.append((torch.from_numpy(ids), torch.from_numpy(mask)))
            start += len(rows)
        order = np.empty_like(longest_first)
        order[longest_first] = np.arange(len(order))
        return {"groups": groups, "order": torch.from_numpy(order)}

    return prepare


def freeze_unused(twin: Twin) -> None:
    """Exclude BERT's pooler from training: no embedding uses it."""
    for name, weights in twin.named_parameters():
        if ".pooler." in name:
            weights.requires_grad = False


def set_dropout(module: nn.Module, probability: float) -> None:
    """Set every dropout of the module, also that of attention, to this probability."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = probability
        for name in ("dropout_prob", "attention_dropout", "attention_probs_dropout_prob"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, probability)


def add_lora(twin: Twin, rank: int, seed: int) -> None:
    """Add low-rank matrices to every linear layer of the transformer and train only these (Hu et al. 2021, equation 3).

    Raises
    ------
    MissingExtra
        If peft is not installed; the message gives the install line.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtra("LoRA needs peft. Install it: pip install 'textsiam[lora]'.") from None

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin.transformer = get_peft_model(twin.transformer, config)


def merge_lora(twin: Twin) -> None:
    """Add the low-rank matrices to the weights of their layers, and remove them."""
    merge = getattr(twin.transformer, "merge_and_unload", None)
    if merge is not None:
        twin.transformer = merge()
