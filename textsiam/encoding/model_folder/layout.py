"""Reads and writes model folders in the layout of sentence-transformers, plus ``textsiam.json``, which that library ignores.

Only this module knows the layout. A folder is read without pickles and without running its code. It is written whole or not at
all. Weights are copied, so a model loaded in bf16 saves its original fp32 weights. A setting that textsiam does not have is
refused, because ignoring it would give other vectors. Of ``textsiam.json`` this module reads only the hashes and the
similarity.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textsiam.data.files import check_folder, replacing
from textsiam.encoding.model_folder.folder import ModelFolder, canonical, read_json, read_object, sha256
from textsiam.errors import BrokenModel, ModelNotFound, UnsupportedModel

SCHEMA = 1
CARRIED = "textsiam.json"
TRAINING_TEXTS, JUDGE = "training_texts.hashes", "judge/judge.safetensors"

# The files that textsiam writes beside the transformer's own. Their hashes are recorded too.
_LAYOUT = (
    "modules.json", "1_Pooling/config.json", "2_Normalize/config.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", TRAINING_TEXTS, JUDGE,
)  # fmt: skip
_OLD_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}
# Architectures whose positions start after the padding token's id, so that the first places of the table are not used.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
# Prompts that every model has for sentence-transformers, empty by default.
_EMPTY_PROMPTS = ("query", "document")
_SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
# Settings of sentence_bert_config.json that override those of the tokenizer or the transformer.
_OVERRIDES = ("processing_kwargs", "tokenizer_args", "config_args")
# transformers 5 always computes absolute positions for these.
_ABSOLUTE = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


def read_folder(path: Path) -> ModelFolder:
    """The settings of a model folder, checked against the hashes in its ``textsiam.json``.

    Raises `ModelNotFound` if there is no model; `BrokenModel` if a file is missing, truncated, or does not have the recorded
    hash; `UnsupportedModel` if the model needs a module, pooling or task that textsiam does not have.
    """
    if not path.is_dir():
        raise ModelNotFound(f"There is no model folder {path}. Give a folder that has config.json or modules.json.")
    carried = _carried(path)
    transformer, pooling, normalize = _modules(path)
    if not (transformer / "config.json").exists():
        raise ModelNotFound(
            f"{path} holds no model: {transformer / 'config.json'} is missing. "
            "Give a folder saved by textsiam or sentence-transformers."
        )
    _refuse_pickles(transformer)
    _refuse_adapters(transformer)
    settings = _lengths(transformer) | _general(path / "config_sentence_transformers.json")
    folder = ModelFolder(path, transformer, pooling, normalize, **settings, carried=carried)
    if carried:
        _verify(folder)
    return folder


def write_folder(
    folder: ModelFolder, target: Path, carried: Mapping[str, Any], card: str, files: Mapping[str, bytes] | None = None
) -> None:
    """Write a copy of the model to `target`, which sentence-transformers (2 to 6) can load too.

    `carried` is the content of ``textsiam.json`` apart from the hashes, `card` the text of README.md, and `files` the content of
    `TRAINING_TEXTS` and `JUDGE` (no file if empty). A model folder at `target` is replaced in one step.

    Raises `FileExistsError` if `target` is a file or holds something else than a model, `BrokenModel` if the files of `folder`
    are gone, and `OSError` if the file system refuses. `target` is then unchanged.
    """
    check_model_target(target)
    if not folder.files():
        raise BrokenModel(f"The model's own files in {folder.transformer} are gone. Load it again before saving.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as new:
        new.mkdir()
        for file in folder.files():
            shutil.copyfile(file, new / file.name)
        for name, settings in _layout(folder).items():
            (new / name).parent.mkdir(exist_ok=True)
            (new / name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (new / "README.md").write_text(card, encoding="utf-8")
        for name, data in (files or {}).items():
            if data:
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_bytes(data)
        hashes = folder.hashes()
        content = {**carried, "schema": SCHEMA, "files": hashes, "fingerprint": folder.fingerprint(hashes)}
        content["layout"] = {name: sha256(new / name) for name in _LAYOUT if (new / name).exists()}
        content["checksum"] = _checksum(content)
        (new / CARRIED).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def check_model_target(target: Path) -> None:
    """Raise `OSError` if `target` is a file or a folder of something else than a model, or cannot be written.

    Call it before slow work.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not (target / "modules.json").exists()):
        raise FileExistsError(f"{target} exists and is not a model folder. Name a new folder, or remove it first.")
    check_folder(target.resolve().parent)


def _layout(folder: ModelFolder) -> dict[str, Any]:
    """The configuration files, with the old module names, which every version reads."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kinds += [("2_Normalize", "Normalize")] if folder.normalize else []
    config = read_object(folder.transformer / "config.json")
    dim = config.get("hidden_size") or config.get("dim")
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
        return path, "mean", False  # a plain transformers folder, as sentence-transformers reads it
    listed = read_json(path / "modules.json")
    if not isinstance(listed, list) or not all(
        isinstance(module, dict) and isinstance(module.get("type"), str) and isinstance(module.get("path"), str)
        for module in listed
    ):
        raise BrokenModel(
            f"{path / 'modules.json'} must be a list of modules, each with a type and a path, but is not. "
            "Restore it from the model's source."
        )
    modules = [(module["type"].rpartition(".")[2], path / module["path"]) for module in listed]
    kinds = [kind for kind, _ in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedModel(
            f"{path} has the modules {', '.join(kinds)}. "
            "textsiam supports Transformer, Pooling and an optional Normalize, in this order."
        )
    return modules[0][1], _pooling(modules[1][1] / "config.json"), len(kinds) == 3  # noqa: PLR2004


def _pooling(file: Path) -> str:
    config = read_object(file)
    chosen = config.get("pooling_mode") or [
        _OLD_POOLING.get(key, key.removeprefix("pooling_mode_"))
        for key, on in config.items()
        if key.startswith("pooling_mode_") and on is True
    ]
    modes = [str(mode) for mode in (chosen if isinstance(chosen, list) else [chosen])]
    if len(modes) != 1 or modes[0] not in _OLD_POOLING.values():
        raise UnsupportedModel(
            f"{file} pools by {' and '.join(modes) or 'nothing'}. textsiam pools by mean, cls or max, one at a time."
        )
    if config.get("include_prompt") is False:
        raise UnsupportedModel(
            f"{file} leaves the prompt out of the pooling (include_prompt: false), which textsiam does not do."
        )
    return modes[0]


def _lengths(transformer: Path) -> dict[str, Any]:
    """``max_length`` and ``lowercase`` of `ModelFolder`."""
    file = next(iter(sorted(transformer.glob("sentence_*_config.json"))), transformer / "sentence_bert_config.json")
    sentence = read_object(file, {})
    _refuse_overrides(file, sentence)
    tokenizer, config = transformer / "tokenizer_config.json", transformer / "config.json"
    longest = _count(file, "max_seq_length") or _count(tokenizer, "model_max_length")
    places = _count(config, "max_position_embeddings") or _count(config, "n_positions") or 512
    model = read_object(config)
    _refuse_positions(config, model)
    if model.get("model_type") in _OFFSET_POSITIONS:
        padding = model.get("pad_token_id")
        places -= (padding if isinstance(padding, int) else 1) + 1
    return {"max_length": min(longest or places, places), "lowercase": bool(sentence.get("do_lower_case"))}


def _count(file: Path, key: str) -> int | None:
    """A number above 0 in a JSON file, or None if there is none. It may be a float: 1e30 means no limit."""
    count = read_object(file, {}).get(key)
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int | float) or not 1 <= count < float("inf"):
        raise BrokenModel(f"{file} has {key} {count!r}. It must be a number of tokens above 0: correct it.")
    return int(count)


def _general(file: Path) -> dict[str, Any]:
    """``prompts``, ``default_prompt`` and ``similarity`` of `ModelFolder`."""
    general = read_object(file, {})
    prompts, default = general.get("prompts") or {}, general.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise BrokenModel(f"{file} has the prompts {prompts!r}. They must be texts by name: correct them.")
    prompts = {name: text or "" for name, text in prompts.items()}
    if default is not None and default not in [*prompts, *_EMPTY_PROMPTS]:
        raise BrokenModel(
            f"{file} has the default prompt {default!r}, but prompts named {', '.join(prompts) or 'nothing'}. "
            "Name one of them, or null."
        )
    _refuse_general(file, general)
    similarity = general.get("similarity_fn_name") or "cosine"
    return {"prompts": prompts, "default_prompt": default, "similarity": similarity}


def _carried(path: Path) -> dict[str, Any]:
    """The content of ``textsiam.json``, after checking it and the layout's files; empty if there is none."""
    file = path / CARRIED
    if not file.exists():
        return {}
    content = read_object(file)
    if isinstance(schema := content.get("schema"), int) and schema != SCHEMA:
        raise UnsupportedModel(f"{file} has schema {schema}, but this textsiam reads {SCHEMA}. Update textsiam.")
    if content.get("checksum") != _checksum({key: value for key, value in content.items() if key != "checksum"}):
        raise BrokenModel(
            f"{file} was altered after it was saved: its checksum differs. Restore the folder, or save the model again."
        )
    # Before any of them is read, so that the error names the altered file.
    _compare(
        path, content.get("layout", {}), {name: sha256(path / name) for name in _LAYOUT if (path / name).is_file()}
    )
    return content


def _verify(folder: ModelFolder) -> None:
    found = folder.hashes()
    _compare(folder.transformer, folder.carried["files"], found)
    if (saved := folder.carried.get("similarity", folder.similarity)) != folder.similarity:
        raise BrokenModel(
            f"{folder.path} compares by {folder.similarity}, but was saved to compare by {saved}. Restore the folder."
        )
    # A folder that was saved before layouts were recorded, or a file that was added to the recorded ones.
    if folder.fingerprint(found) != folder.carried["fingerprint"]:
        raise BrokenModel(
            f"The configuration in {folder.path} (pooling, length, prompts) was altered after saving. Restore the folder."
        )


def _compare(path: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name, recorded in expected.items():
        if found.get(name) != recorded:
            state = "is missing" if name not in found else f"has sha256 {found[name][:12]}…, not {recorded[:12]}…"
            raise BrokenModel(f"{path / name} {state}: it was altered or cut after saving. Restore the folder.")


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()


def _refuse_pickles(folder: Path) -> None:
    """Raise unless the weights are in safetensors files."""
    if not any(folder.glob("*.safetensors")):
        pickled = next(iter([*folder.glob("*.bin"), *folder.glob("*.pt")]), None)
        if pickled:
            raise UnsupportedModel(
                f"{pickled} is a pickle, which can run code when it is read. Save the model as safetensors."
            )
        raise BrokenModel(f"{folder} has no weights (model.safetensors). Restore them from the model's source.")


def _refuse_adapters(folder: Path) -> None:
    """Raise if there is an adapter beside the transformer: some readers would add its weights, others not."""
    if (file := folder / "adapter_config.json").exists():
        raise UnsupportedModel(
            f"{file} belongs to an adapter. Merge it into the weights (merge_and_unload) and save them."
        )


def _refuse_positions(file: Path, config: dict[str, Any]) -> None:
    """Raise if the transformer has relative positions."""
    if config.get("model_type") in _ABSOLUTE and config.get("position_embedding_type") not in ("absolute", None):
        raise UnsupportedModel(
            f"{file} has position_embedding_type {config['position_embedding_type']!r}, which transformers no longer "
            "computes. Use a model with absolute positions."
        )


def _refuse_overrides(file: Path, sentence: dict[str, Any]) -> None:
    """Raise if the settings of the sentence encoder override those of the tokenizer or the transformer."""
    if (task := sentence.get("transformer_task", "feature-extraction")) != "feature-extraction":
        raise UnsupportedModel(
            f"{file.parent} is a model for {task!r}. textsiam reads sentence encoders (feature-extraction)."
        )
    if found := [key for key in _OVERRIDES if sentence.get(key)]:
        raise UnsupportedModel(
            f"{file} has {', '.join(found)}, which textsiam does not read. "
            "Write them into tokenizer_config.json or config.json, and remove them there."
        )


def _refuse_general(file: Path, general: dict[str, Any]) -> None:
    """Raise if the model cuts its vectors, or compares them in a way that textsiam does not have."""
    if cut := general.get("truncate_dim"):
        raise UnsupportedModel(
            f"{file} cuts vectors to {cut} dimensions (truncate_dim), which textsiam does not do. Set it to null."
        )
    if (similarity := general.get("similarity_fn_name") or "cosine") not in _SIMILARITIES:
        raise UnsupportedModel(f"{file} compares by {similarity!r}. textsiam has {', '.join(_SIMILARITIES)}.")
