"""What a model folder may ask for and textsiam does not have: refused, for ignoring it would give other vectors."""

from pathlib import Path
from typing import Any

from textsiam.errors import BrokenModel, UnsupportedModel

# Settings of sentence_bert_config.json that change what the tokenizer or the transformer does, over those files' own.
_OVERRIDES = ("processing_kwargs", "tokenizer_args", "config_args")
# transformers 5 computes absolute positions for these whatever their settings say.
_ABSOLUTE = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


def refuse_pickles(folder: Path) -> None:
    """Raise unless the weights are safetensors."""
    if not any(folder.glob("*.safetensors")):
        pickled = next(iter([*folder.glob("*.bin"), *folder.glob("*.pt")]), None)
        if pickled:
            raise UnsupportedModel(
                f"{pickled} is a pickle, which can run code when read. Save the model once as safetensors."
            )
        raise BrokenModel(f"{folder} has no weights (model.safetensors). Restore them from where the model came from.")


def refuse_adapters(folder: Path) -> None:
    """Raise if weights of an adapter lie beside the transformer's: some readers would add them, others not."""
    if (file := folder / "adapter_config.json").exists():
        raise UnsupportedModel(
            f"{file} tells of an adapter. Merge it into the weights (merge_and_unload) and save them."
        )


def refuse_positions(file: Path, config: dict[str, Any]) -> None:
    """Raise if the transformer was made with relative positions."""
    if config.get("model_type") in _ABSOLUTE and config.get("position_embedding_type") not in ("absolute", None):
        raise UnsupportedModel(
            f"{file} has position_embedding_type {config['position_embedding_type']!r}, which transformers no longer "
            "computes. Use a model with absolute positions."
        )


def refuse_overrides(file: Path, sentence: dict[str, Any]) -> None:
    """Raise if the settings of the sentence encoder override the tokenizer's or the transformer's."""
    if (task := sentence.get("transformer_task", "feature-extraction")) != "feature-extraction":
        raise UnsupportedModel(
            f"{file.parent} is a model for {task!r}. textsiam reads sentence encoders (feature-extraction)."
        )
    if found := [key for key in _OVERRIDES if sentence.get(key)]:
        raise UnsupportedModel(
            f"{file} has {', '.join(found)}, which textsiam does not read. "
            "Write them into tokenizer_config.json or config.json, and remove them there."
        )


def refuse_general(file: Path, general: dict[str, Any], similarities: tuple[str, ...]) -> None:
    """Raise if vectors are to be cut, or compared otherwise than textsiam does."""
    if cut := general.get("truncate_dim"):
        raise UnsupportedModel(
            f"{file} cuts vectors to {cut} dimensions (truncate_dim), which textsiam does not do. Set it to null."
        )
    if (similarity := general.get("similarity_fn_name") or "cosine") not in similarities:
        raise UnsupportedModel(f"{file} compares by {similarity!r}. textsiam has {', '.join(similarities)}.")
