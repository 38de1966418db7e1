"""The model folder: what sentence-transformers reads and writes, plus ``textsiam.json``, which it ignores.

The only file that knows that layout. What ``textsiam.json`` carries beyond the files' hashes is opaque here. A folder is
read without pickles and without running its code; it is written whole or not at all. Weights are copied, not
rewritten, so a model loaded in bf16 saves the fp32 weights that it came from.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textsiam.data.files import replacing
from textsiam.encoding.folder import ModelFolder, canonical
from textsiam.errors import BrokenModel, ModelNotFound, UnsupportedModel

SCHEMA = 1
CARRIED = "textsiam.json"

_OLD_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
# Architectures whose positions start behind the padding token's id, so that two places of the table are never used.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


def read_folder(path: Path) -> ModelFolder:
    """What the folder says, checked against what ``textsiam.json`` recorded when it was saved.

    Raises
    ------
    ModelNotFound
        If there is no such folder, or it holds no model.
    BrokenModel
        If a file is missing, truncated, or differs from what was recorded.
    UnsupportedModel
        If it asks for a module, pooling or task that textsiam does not have.
    """
    if not path.is_dir():
        raise ModelNotFound(f"There is no model folder {path}. Give a folder that has config.json or modules.json.")
    transformer, pooling, normalize = _modules(path)
    if not (transformer / "config.json").exists():
        raise ModelNotFound(
            f"{path} holds no model: {transformer / 'config.json'} is missing. "
            "Give a folder saved by textsiam or sentence-transformers."
        )
    _refuse_pickles(transformer)
    config = _json(transformer / "config.json")
    sentence: dict[str, Any] = next((_json(file) for file in sorted(transformer.glob("sentence_*_config.json"))), {})
    if (task := sentence.get("transformer_task", "feature-extraction")) != "feature-extraction":
        raise UnsupportedModel(
            f"{path} is a model for {task!r}. textsiam reads sentence encoders (feature-extraction)."
        )
    general = _json(path / "config_sentence_transformers.json", {})
    similarity = general.get("similarity_fn_name") or "cosine"
    if similarity not in _SIMILARITIES:
        raise UnsupportedModel(f"{path} compares by {similarity!r}. textsiam has {', '.join(_SIMILARITIES)}.")
    folder = ModelFolder(
        path,
        transformer,
        pooling,
        normalize,
        _max_length(sentence, _json(transformer / "tokenizer_config.json", {}), config),
        lowercase=bool(sentence.get("do_lower_case")),
        prompts=general.get("prompts") or {},
        default_prompt=general.get("default_prompt_name"),
        similarity=similarity,
        carried=_json(path / CARRIED, {}),
    )
    if folder.carried:
        _verify(folder)
    return folder


def write_folder(folder: ModelFolder, target: Path, carried: Mapping[str, Any], card: str) -> None:
    """Write a copy of the model that sentence-transformers (2 to 6) loads too, with ``textsiam.json`` beside it.

    Parameters
    ----------
    folder
        The model; its files are copied.
    target
        The new folder. A model folder there is replaced in one step.
    carried
        What ``textsiam.json`` shall hold beyond the files' hashes.
    card
        The text of README.md.

    Raises
    ------
    FileExistsError
        If `target` is a file, or a folder that holds something else than a model.
    BrokenModel
        If the files of `folder` are gone.
    OSError
        What the file system says; `target` is then as it was.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not (target / "modules.json").exists()):
        raise FileExistsError(f"{target} exists and is no model folder. Name a new folder, or remove it first.")
    if not folder.files():
        raise BrokenModel(f"The model's own files in {folder.transformer} are gone. Load it again before saving.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as new:
        new.mkdir()
        for file in folder.files():
            shutil.copyfile(file, new / file.name)
        for name, content in _layout(folder).items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (new / "README.md").write_text(card, encoding="utf-8")
        hashes = folder.hashes()
        told = {**carried, "schema": SCHEMA, "files": hashes, "fingerprint": folder.fingerprint(hashes)}
        told["checksum"] = _checksum(told)
        (new / CARRIED).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _layout(folder: ModelFolder) -> dict[str, Any]:
    """The configuration files; the old module names, because every version reads them."""
    kinds = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        *([("2_Normalize", "Normalize")] if folder.normalize else []),
    ]
    dim = _json(folder.transformer / "config.json").get("hidden_size") or _json(folder.transformer / "config.json").get(
        "dim"
    )
    pooling = {
        "word_embedding_dimension": dim,
        "embedding_dimension": dim,
        "pooling_mode": folder.pooling,
        "include_prompt": True,
    }
    layout: dict[str, Any] = {
        "modules.json": [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for place, (path, kind) in enumerate(kinds)
        ],
        "1_Pooling/config.json": pooling | {key: mode == folder.pooling for key, mode in _OLD_POOLING.items()},
        "sentence_bert_config.json": {"max_seq_length": folder.max_length, "do_lower_case": folder.lowercase},
        "config_sentence_transformers.json": {
            "prompts": dict(folder.prompts),
            "default_prompt_name": folder.default_prompt,
            "similarity_fn_name": folder.similarity,
        },
    }
    return layout | ({"2_Normalize/config.json": {}} if folder.normalize else {})


def _modules(path: Path) -> tuple[Path, str, bool]:
    """Where the transformer is, how tokens are pooled, and whether embeddings are normalised."""
    if not (path / "modules.json").exists():
        return path, "mean", False  # a plain transformers folder: sentence-transformers takes the mean too
    modules = [
        (str(module["type"]).rpartition(".")[2], path / module["path"]) for module in _json(path / "modules.json")
    ]
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedModel(
            f"{path} has the modules {', '.join(kinds)}. "
            "textsiam supports Transformer, Pooling and an optional Normalize, in this order."
        )
    return modules[0][1], _pooling(modules[1][1] / "config.json"), len(kinds) == 3  # noqa: PLR2004


def _pooling(file: Path) -> str:
    config = _json(file)
    modes = config.get("pooling_mode") or [
        _OLD_POOLING.get(key, key.removeprefix("pooling_mode_"))
        for key, on in config.items()
        if key.startswith("pooling_mode_") and on is True
    ]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in _OLD_POOLING.values():
        raise UnsupportedModel(
            f"{file} pools by {' and '.join(modes) or 'nothing'}. textsiam pools by mean, cls or max, one at a time."
        )
    if config.get("include_prompt") is False:
        raise UnsupportedModel(
            f"{file} leaves the prompt out of the pooling (include_prompt: false), which textsiam does not do."
        )
    return str(modes[0])


def _max_length(sentence: Mapping[str, Any], tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    told = sentence.get("max_seq_length") or tokenizer.get("model_max_length")
    places = config.get("max_position_embeddings") or config.get("n_positions") or 512
    if config.get("model_type") in _OFFSET_POSITIONS:
        places -= config.get("pad_token_id", 1) + 1
    return int(min(told or places, places))


def _refuse_pickles(folder: Path) -> None:
    if not any(folder.glob("*.safetensors")):
        pickled = next(iter([*folder.glob("*.bin"), *folder.glob("*.pt")]), None)
        if pickled:
            raise UnsupportedModel(
                f"{pickled} is a pickle, which can run code when read. Save the model once as safetensors."
            )
        raise BrokenModel(f"{folder} has no weights (model.safetensors). Restore them from where the model came from.")


def _verify(folder: ModelFolder) -> None:
    told = dict(folder.carried)
    file = folder.path / CARRIED
    if told.get("schema") != SCHEMA:
        raise UnsupportedModel(
            f"{file} has schema {told.get('schema')!r}, this textsiam reads {SCHEMA}. Update textsiam."
        )
    if told.pop("checksum", None) != _checksum(told):
        raise BrokenModel(
            f"{file} was altered after it was saved: its checksum differs. Restore the folder, or save the model again."
        )
    found = folder.hashes()
    for name, expected in told["files"].items():
        if found.get(name) != expected:
            state = "is missing" if name not in found else f"has sha256 {found[name][:12]}…, not {expected[:12]}…"
            raise BrokenModel(
                f"{folder.transformer / name} {state}: it was altered or cut after saving. Restore the folder."
            )
    if folder.fingerprint(found) != told["fingerprint"]:
        raise BrokenModel(
            f"The configuration in {folder.path} (pooling, length, prompts) was altered after saving. Restore the folder."
        )


def _json(file: Path, default: Any = None) -> Any:
    if default is not None and not file.exists():
        return default
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenModel(f"{file} is missing. Restore it from where the model came from.") from None
    except ValueError as error:
        raise BrokenModel(f"{file} is no readable JSON ({error}). Restore it from where the model came from.") from None


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()
