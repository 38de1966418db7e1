"""The model folder: ours is theirs, theirs is ours, and what is damaged or altered is refused."""

import json
import shutil

import numpy as np
import pytest

from textsiam import Calibrator, Siamese, Threshold
from textsiam.encoding.model_folder import layout
from textsiam.encoding.model_folder.layout import CARRIED, read_folder
from textsiam.errors import BrokenModel, EncoderMismatch, ModelNotFound, UnsupportedModel


def st_model(folder, pooling="mean", *, normalize=True, dense=False, **options):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [Transformer(str(folder)), Pooling(32, pooling_mode=pooling)]
    modules += [Dense(32, 16)] if dense else []
    modules += [Normalize()] if normalize else []
    return SentenceTransformer(modules=modules, device="cpu", **options)


@pytest.fixture
def saved(tiny_transformer, tmp_path):
    """A folder of ours with all that it can carry."""
    model = Siamese.load(tiny_transformer("bert"), device="cpu", dtype="float32")
    full = Siamese(
        model.encoder,
        "cosine",
        Calibrator((-1.0, 0.5, 1.0), (0.0, 0.2, 0.9), {"on": "a test"}),
        Threshold(0.9, "cosine", "precision ≥ 0.90", {"on": "a test"}),
        Threshold(0.2, "cosine", "", {}),
    )
    full.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "modernbert"])
def test_sentence_transformers_loads_what_we_save(tiny_transformer, tmp_path, texts, architecture):
    """Vectors equal to 1e-6, for several architectures, pooled and normalised as we do."""
    from sentence_transformers import SentenceTransformer

    model = Siamese.load(tiny_transformer(architecture), device="cpu", dtype="float32")
    model.save(tmp_path / "ours")
    theirs = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts), model.encode(texts), atol=1e-6)
    assert theirs.max_seq_length == model.encoder.folder.max_length
    assert theirs.similarity_fn_name == "cosine"


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_we_load_what_sentence_transformers_saves(tiny_transformer, tmp_path, texts, pooling, normalize):
    """Its present layout, every pooling we have, with and without Normalize; and back again."""
    from sentence_transformers import SentenceTransformer

    theirs = st_model(tiny_transformer("bert"), pooling, normalize=normalize, similarity_fn_name="dot")
    theirs.save_pretrained(str(tmp_path / "theirs"))
    ours = Siamese.load(tmp_path / "theirs", device="cpu", dtype="float32")
    np.testing.assert_allclose(ours.encode(texts), theirs.encode(texts), atol=1e-6)
    assert ours.similarity == "dot"
    ours.save(tmp_path / "back")
    again = SentenceTransformer(str(tmp_path / "back"), device="cpu")
    np.testing.assert_allclose(again.encode(texts), theirs.encode(texts), atol=1e-6)
    assert again.similarity_fn_name == "dot"


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_we_load_the_old_layout(tiny_transformer, tmp_path, texts, pooling):
    """Versions 2 to 4: old type names, flags for pooling, a folder for the transformer, the length in its own file."""
    folder = tmp_path / "old"
    shutil.copytree(tiny_transformer("bert"), folder / "0_Transformer")
    names = ["Transformer", "Pooling", "Normalize"]
    modules = [
        {"idx": n, "name": str(n), "path": f"{n}_{name}", "type": f"sentence_transformers.models.{name}"}
        for n, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    flags = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    config = {"word_embedding_dimension": 32} | {
        f"pooling_mode_{flag}": name == pooling for name, flag in flags.items()
    }
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config | {"pooling_mode_mean_sqrt_len_tokens": False}))
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 24, "do_lower_case": True})
    )
    ours = Siamese.load(folder, device="cpu", dtype="float32")
    expected = st_model(tiny_transformer("bert"), pooling)
    expected.max_seq_length = 24
    np.testing.assert_allclose(before := ours.encode(texts), expected.encode(texts), atol=1e-6)
    assert ours.encoder.folder.lowercase
    for _ in range(
        2
    ):  # onto the folder it came from, whose 0_Transformer is then gone: twice, for it must be found again
        ours.save(folder)
        np.testing.assert_array_equal(Siamese.load(folder, device="cpu", dtype="float32").encode(texts), before)
    assert not (folder / "0_Transformer").exists()


def test_what_we_do_not_support_is_refused_by_name(tiny_transformer, tmp_path):
    """A Dense module, other poolings, other tasks, pickled weights: named, not ignored."""
    st_model(tiny_transformer("bert"), dense=True).save_pretrained(str(tmp_path / "dense"))
    with pytest.raises(UnsupportedModel, match="Transformer, Pooling, Dense, Normalize"):
        Siamese.load(tmp_path / "dense")
    poolings = {"lasttoken": "lasttoken", "mean and cls": ["mean", "cls"], "weightedmean": "weightedmean"}
    for told, pooling in poolings.items():
        folder = tmp_path / told
        st_model(tiny_transformer("bert"), "mean").save_pretrained(str(folder))
        config = folder / "1_Pooling" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"pooling_mode": pooling}))
        with pytest.raises(UnsupportedModel, match=f"pools by {told}"):
            Siamese.load(folder)
    shutil.copytree(tiny_transformer("bert"), tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="is a pickle"):
        Siamese.load(tmp_path / "pickled")
    shutil.copytree(tiny_transformer("bert"), tmp_path / "t5")
    (tmp_path / "t5" / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    with pytest.raises(UnsupportedModel, match="encoder-decoder"):
        Siamese.load(tmp_path / "t5")


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("config_sentence_transformers.json", {"truncate_dim": 8}, "cuts vectors to 8 dimensions"),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"max_length": 8}}}, "has processing_kwargs"),
        ("sentence_bert_config.json", {"tokenizer_args": {"truncation_side": "left"}}, "has tokenizer_args"),
        ("sentence_bert_config.json", {"config_args": {"num_hidden_layers": 1}}, "has config_args"),
        ("config.json", {"position_embedding_type": "relative_key"}, "absolute positions"),
        ("adapter_config.json", {"peft_type": "LORA"}, "belongs to an adapter"),
    ],
)
def test_what_would_change_the_vectors_is_not_ignored(tiny_transformer, tmp_path, file, change, told):
    """Settings that sentence-transformers or peft would follow; empty ones, which it writes itself, do no harm."""
    folder = tmp_path / "model"
    st_model(tiny_transformer("bert"), "mean").save_pretrained(str(folder))
    content = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    if file != "adapter_config.json":
        (folder / file).write_text(json.dumps(content | dict.fromkeys(change)))
        Siamese.load(folder, device="cpu")
    (folder / file).write_text(json.dumps(content | change))
    for backend in ("openvino", "pytorch"):
        with pytest.raises(UnsupportedModel, match=told):
            Siamese.load(folder, device="cpu", backend=backend)


def test_all_that_is_carried_comes_back(saved, texts):
    """Calibration, thresholds with evidence, similarity, and the same decisions."""
    ours = Siamese.load(saved, device="cpu", dtype="float32")
    assert ours.calibrator.probabilities == (0.0, 0.2, 0.9)
    assert ours.calibrator.evidence == {"on": "a test"}
    assert (ours.threshold.value, ours.threshold.guarantee) == (0.9, "precision ≥ 0.90")
    assert ours.reject_threshold.value == 0.2
    assert ours.decide(texts, texts).tolist() == ["accept"] * len(texts)


def test_the_folder_holds_no_pickle_and_a_card(saved):
    """safetensors, JSON and text only; a card that the Hub understands."""
    for file in saved.rglob("*"):
        assert file.is_dir() or file.suffix in {".safetensors", ".json", ".md", ".txt"}, file
        assert file.is_dir() or not file.read_bytes().startswith((b"\x80\x02", b"\x80\x04", b"PK"))
    card = (saved / "README.md").read_text()
    told = (
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "- textsiam",
        "precision ≥ 0.90",
    )
    for line in told:
        assert line in card


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "altered", "missing"])
def test_damage_is_detected(saved, name, damage):
    """A file cut in half, with one byte changed, or gone, is named."""
    file = saved / name
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[-10] ^= 1
        file.write_bytes(content)
    with pytest.raises((BrokenModel, ModelNotFound), match=name):
        Siamese.load(saved)


def test_altered_settings_are_detected(saved):
    """A threshold edited by hand, a later schema, half a file, a file emptied of what it told."""
    original = (saved / CARRIED).read_text()
    told = json.loads(original)
    told["threshold"]["value"] = 0.1
    (saved / CARRIED).write_text(json.dumps(told))
    with pytest.raises(BrokenModel, match="checksum"):
        Siamese.load(saved)
    (saved / CARRIED).write_text(original[: len(original) // 2])
    with pytest.raises(BrokenModel, match="not readable JSON"):
        Siamese.load(saved)
    (saved / CARRIED).write_text(json.dumps(json.loads(original) | {"schema": 99}))
    with pytest.raises(UnsupportedModel, match="schema 99"):
        Siamese.load(saved)
    for emptied, told in (("{}", "checksum"), ("[]", "must hold a JSON object")):
        (saved / CARRIED).write_text(emptied)
        with pytest.raises(BrokenModel, match=told):
            Siamese.load(saved)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("1_Pooling/config.json", '"pooling_mode": "mean"', '"pooling_mode": "cls"'),
        ("config_sentence_transformers.json", '"cosine"', '"euclidean"'),
        ("config_sentence_transformers.json", '"prompts": {}', '"prompts": {"query": "q: "}'),
        ("modules.json", '"1_Pooling"', '"."'),
        ("sentence_bert_config.json", "48", "47"),
    ],
)
def test_altered_layout_files_are_named(saved, name, old, new):
    """Every file that we write beside the transformer's is recorded; changed or gone, the error names it."""
    content = (saved / name).read_text()
    assert old in content
    (saved / name).write_text(content.replace(old, new))
    with pytest.raises(BrokenModel, match=f"{name} has sha256"):
        Siamese.load(saved)
    (saved / name).unlink()
    with pytest.raises(BrokenModel, match=f"{name} is missing"):
        Siamese.load(saved)


def test_a_folder_from_before_the_layout_was_recorded_is_checked_too(saved):
    """Without recorded layout files the folder loads; another pooling or similarity than saved is still refused."""
    told = json.loads((saved / CARRIED).read_text())
    del told["layout"], told["checksum"]
    (saved / CARRIED).write_text(json.dumps(told | {"checksum": layout._checksum(told)}))
    assert Siamese.load(saved).threshold.value == 0.9
    for name, old, new, match in (
        ("1_Pooling/config.json", '"pooling_mode": "mean"', '"pooling_mode": "cls"', "pooling, length, prompts"),
        ("config_sentence_transformers.json", '"cosine"', '"dot"', "by dot, but was saved to compare by cosine"),
    ):
        content = (saved / name).read_text()
        (saved / name).write_text(content.replace(old, new))
        with pytest.raises(BrokenModel, match=match):
            Siamese.load(saved)
        (saved / name).write_text(content)


def test_other_vectors_than_when_it_was_saved_are_detected(saved, monkeypatch):
    """The canary texts guard against a library that would silently change vectors."""
    from textsiam.encoding.encoder import Encoder

    encode = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda self, texts, **options: encode(self, texts, **options) + 0.01)
    with pytest.raises(EncoderMismatch, match=r"canary texts differ by \d.\de-03 of their length"):
        Siamese.load(saved, dtype="float32")


def test_weights_cut_without_a_record_are_named(tiny_transformer, tmp_path):
    """A foreign folder has no hashes, yet a cut weights file ends in a clear error; so do missing tensors."""
    folder = tmp_path / "cut"
    shutil.copytree(tiny_transformer("bert"), folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BrokenModel, match="weights in .* cannot be read"):
        Siamese.load(folder)
    from safetensors.numpy import load_file, save_file

    tensors = load_file(tiny_transformer("bert") / "model.safetensors")
    save_file({name: t for name, t in tensors.items() if "layer.1" not in name}, weights, metadata={"format": "pt"})
    with pytest.raises(BrokenModel, match="lack 16 tensors"):
        Siamese.load(folder)


def test_saving_is_whole_or_not_at_all(saved, tmp_path, monkeypatch):
    """A failure in the middle leaves the old folder as it was and nothing beside it."""
    model = Siamese.load(saved, device="cpu")
    before = {file: file.read_bytes() for file in saved.rglob("*") if file.is_file()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("textsiam.encoding.model_folder.layout.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space"):
        model.save(saved)
    monkeypatch.undo()
    assert {file: file.read_bytes() for file in saved.rglob("*") if file.is_file()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
    model.save(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
    assert Siamese.load(saved, device="cpu").threshold == model.threshold


def test_saving_refuses_to_replace_what_is_no_model(model, tmp_path):
    """A folder of something else, or a file, is not overwritten."""
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not a model folder"):
        model.save(tmp_path / "thesis")
    with pytest.raises(FileExistsError):
        model.save(tmp_path / "thesis" / "chapter1.txt")
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "precious"


def test_a_model_loaded_in_bf16_saves_its_fp32_weights(tmp_path, tiny_transformer, texts):
    """Weights are copied, not rewritten."""
    Siamese.load(tiny_transformer("bert"), device="cpu", dtype="bfloat16").save(tmp_path / "m")
    expected = Siamese.load(tiny_transformer("bert"), device="cpu", dtype="float32").encode(texts)
    np.testing.assert_allclose(
        Siamese.load(tmp_path / "m", device="cpu", dtype="float32").encode(texts), expected, atol=1e-6
    )


def test_the_fingerprint_is_of_what_vectors_depend_on(saved, tiny_transformer, tmp_path):
    """A copy has the same fingerprint, another maximum length has not."""
    assert read_folder(saved).fingerprint() == read_folder(tiny_transformer("bert")).fingerprint()
    shutil.copytree(tiny_transformer("bert"), tmp_path / "shorter")
    (tmp_path / "shorter" / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    assert read_folder(tmp_path / "shorter").fingerprint() != read_folder(saved).fingerprint()
