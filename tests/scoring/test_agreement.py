"""A faster precision class is admitted where it was measured to decide alike, and refused where it was not."""

import json
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from textsiam import Encoder, Pairs, Siamese, Threshold, admit, find_duplicates, read_pairs, read_texts
from textsiam.encoding.model_folder.folder import cache_folder
from textsiam.encoding.openvino.backend import can_compute
from textsiam.encoding.openvino.int8 import N_APART, in_int8, input_ranges
from textsiam.errors import EncoderMismatch, NotCalibrated, TooManyMatches
from textsiam.samples import PAIRS, QUESTIONS
from textsiam.scoring.precision.agreement import LOWEST, MAX_MARGIN, agreement

pytestmark = pytest.mark.skipif(not can_compute("int8"), reason="this processor does not compute int8")


@pytest.fixture(scope="module")
def model(cosine):
    """The default's encoder, deciding by cosine alone."""
    return cosine


@pytest.fixture(scope="module")
def coarse(cosine, tmp_path_factory):
    """The same in int8."""
    folder = tmp_path_factory.mktemp("coarse") / "model"
    cosine.save(folder)
    return Siamese.load(folder, dtype="int8")


@pytest.fixture(scope="module")
def pairs():
    return read_pairs(PAIRS)


@pytest.fixture(scope="module")
def many(pairs):
    """Every first with many seconds: enough that agreement of nearly all is shown, and not by chance."""
    rows = [
        (a, b)
        for shift in range(60)
        for a, b in zip(pairs.first, pairs.second[shift:] + pairs.second[:shift], strict=True)
    ]
    return read_pairs(rows, labelled=False)


def test_int8_vectors_are_near_and_named(coarse, model):
    """Unit length, a cosine above .98 with the fp32 vectors, and the class in the name."""
    texts = list(read_texts(QUESTIONS, column="question"))[:50]
    vectors = coarse.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert ((vectors * model.encode(texts)).sum(1) > 0.98).all()
    assert coarse.encoder.precision == "int8"


def test_pairs_near_a_threshold_are_scored_as_certified(coarse, model, pairs):
    """Exactly as in fp32 where the coarse score comes within the margin, coarse elsewhere; so decisions agree."""
    plain = replace(coarse, rescorer=None).score(pairs.first, pairs.second)
    found, exact = coarse.score(pairs.first, pairs.second), model.score(pairs.first, pairs.second)
    cuts = np.array([model.threshold.value, model.reject_threshold.value])
    near = (np.abs(plain[:, None] - cuts) <= coarse.rescorer.margin).any(1)
    assert near.any()
    np.testing.assert_allclose(found[near], exact[near], atol=1e-6)
    np.testing.assert_array_equal(found[~near], plain[~near])
    assert agreement(model, coarse, pairs)["share"] >= LOWEST


def test_duplicates_in_int8_are_those_of_fp32(coarse, model):
    """At a threshold of one's own too: candidates are looked for a margin below it, and scored again."""
    texts = read_texts(QUESTIONS, column="question")
    found, expected = (
        {(match.left, match.right) for match in find_duplicates(of, texts, threshold=0.85)} for of in (coarse, model)
    )
    assert len(expected) > 20
    assert len(found ^ expected) <= 1
    both = find_duplicates(coarse, list(texts)[:200], against=list(texts)[200:], threshold=0.8)
    others = find_duplicates(model, list(texts)[:200], against=list(texts)[200:], threshold=0.8)
    assert {(m.left, m.right) for m in both} == {(m.left, m.right) for m in others}


def test_int8_is_refused_where_nobody_measured_it(tiny_transformer, pairs, many, tmp_path):
    """A certified model: refused, admitted after it was measured, and the record survives saving."""
    plain = Siamese.load(tiny_transformer("bert"), dtype="float32")
    assert Siamese.load(tiny_transformer("bert"), dtype="int8").rescorer is None  # nothing certified, nothing promised
    certified = replace(plain, threshold=Threshold(0.9, evidence={"precision_class": "float32"}))
    certified.save(tmp_path / "model")
    with pytest.raises(EncoderMismatch, match="it was not measured at these thresholds"):
        Siamese.load(tmp_path / "model", dtype="int8")
    measured = admit(certified, many)
    told = measured.threshold.evidence["agreement"]["int8"]
    assert told["share"] >= told["at_least"] >= LOWEST
    assert 0 < told["margin"] <= MAX_MARGIN
    assert (told["pairs"], told["cuts"], told["backend"]) == (len(many), [0.9], "openvino")
    assert certified.threshold.evidence == {"precision_class": "float32"}
    measured.save(tmp_path / "measured")
    loaded = Siamese.load(tmp_path / "measured", dtype="int8")
    for other in (admit(certified, pairs), replace(measured, reject_threshold=Threshold(0.5))):
        other.save(tmp_path / "other")  # measured on too few pairs; at other thresholds
        with pytest.raises(EncoderMismatch, match="on enough pairs"):
            Siamese.load(tmp_path / "other", dtype="int8")
    assert (loaded.decide(pairs.first, pairs.second) == certified.decide(pairs.first, pairs.second)).mean() >= LOWEST


def test_admitting_compares_with_the_class_that_was_certified(coarse, model, pairs):
    """Whatever class the model is loaded in: never a class with itself."""
    told = [admit(of, pairs).threshold.evidence["agreement"]["int8"] for of in (coarse, model)]
    assert told[0] == told[1]
    assert told[0]["largest_difference"] > 0
    bare = replace(model, threshold=Threshold(0.8), reject_threshold=None)  # not told: fp32
    for dtype, of in (("float32", model), ("float32", bare)):
        with pytest.raises(ValueError, match="certified in float32 already"):
            admit(of, pairs, dtype=dtype)


def test_calibrating_keeps_what_the_thresholds_need(coarse, pairs):
    """The thresholds are still those of fp32: pairs near them are still scored again."""
    again = coarse.calibrate(pairs)
    assert again.rescorer is coarse.rescorer
    np.testing.assert_array_equal(again.decide(pairs.first, pairs.second), coarse.decide(pairs.first, pairs.second))


def test_an_explanation_tells_the_models_own_score(coarse, many):
    """In int8 too: the score, the probability and the decision of `score`, `probability` and `decide`."""
    first, second = many.first[:60], many.second[:60]
    told = coarse.explain(first, second)
    np.testing.assert_array_equal([one.score for one in told], coarse.score(first, second))
    assert [one.decision for one in told] == coarse.decide(first, second).tolist()


def test_pickled_it_keeps_its_second_look(coarse, pairs):
    """In another process it decides as here."""
    again = pickle.loads(pickle.dumps(coarse))  # noqa: S301  our own
    assert (again.rescorer.margin, again.rescorer.encoder.precision) == (coarse.rescorer.margin, "float32")
    np.testing.assert_array_equal(again.decide(pairs.first, pairs.second), coarse.decide(pairs.first, pairs.second))


def test_too_many_near_a_threshold_are_said_so(coarse):
    """The limit counts what reaches the caller's threshold; the text names that, and why more were looked at."""
    texts = read_texts(QUESTIONS, column="question")
    n = len(find_duplicates(coarse, texts, threshold=0.8))
    assert len(find_duplicates(coarse, texts, threshold=0.8, max_matches=n)) == n
    with pytest.raises(TooManyMatches, match=f"{n} pairs match"):
        find_duplicates(coarse, texts, threshold=0.8, max_matches=n - 1)
    with pytest.raises(TooManyMatches, match=r"near 0\.2 would be scored again"):
        find_duplicates(coarse, texts, threshold=0.2, max_matches=100)


def test_what_int8_certified_itself_needs_no_record(tiny_transformer, pairs, tmp_path):
    """Its thresholds are of int8 scores."""
    model = Siamese.load(tiny_transformer("bert"), dtype="int8").certify(pairs, precision=0.3, reject_precision=None)
    assert model.threshold.evidence["precision_class"] == "int8"
    model.save(tmp_path / "model")
    assert Siamese.load(tmp_path / "model", dtype="int8").rescorer is None


def test_certifying_scores_without_the_rescorer(coarse, pairs):
    """New thresholds must not depend on where the old ones were."""
    again = coarse.certify(pairs, precision=0.5)
    assert again.rescorer is None
    assert again.threshold.evidence["precision_class"] == "int8"


def test_agreement_refuses_what_means_nothing(model, tiny_transformer, pairs):
    """No threshold, another encoder, no pairs."""
    with pytest.raises(NotCalibrated, match="no threshold"):
        agreement(replace(model, threshold=None), model, pairs)
    with pytest.raises(EncoderMismatch, match="two encoders"):
        agreement(model, Siamese.load(tiny_transformer("bert")), pairs)
    with pytest.raises(ValueError, match="no pairs to compare"):
        admit(model, Pairs([], []))


def test_agreement_counts(model, pairs):
    """Oracle: decisions compared by hand, for an encoder whose vectors are off."""

    class Off:
        precision, token_budget, padding_budget = "float32", 2_048, 64

        def embed(self, ids, mask):
            vectors = model.encoder.backend.embed(ids, mask) + 0.02
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

        def embed_many(self, batches):
            return (self.embed(*batch) for batch in batches)

    other = replace(model, encoder=Encoder(model.encoder.folder, Off()))
    told = agreement(model, other, pairs)
    alike = model.decide(pairs.first, pairs.second) == other.decide(pairs.first, pairs.second)
    assert told["share"] == pytest.approx(alike.mean(), abs=1e-6)
    assert told["share"] < 1
    assert told["largest_difference"] > 0.01


def test_ranges_are_measured_once(tiny_transformer, tmp_path, monkeypatch):
    """They are kept in the cache folder; damage there is mended."""
    from textsiam.encoding.model_folder.layout import read_folder

    monkeypatch.setenv("TEXTSIAM_CACHE", str(tmp_path))
    folder = read_folder(tiny_transformer("bert"))
    ranges = input_ranges(folder)
    (file,) = cache_folder().glob("ranges-*.npz")
    whole = file.read_bytes()
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    spoilt = {name: of * np.float32(np.nan) for name, of in ranges.items()}
    np.savez(tmp_path / "spoilt.npz", **spoilt, sha256="0" * 64)
    others = ((tmp_path / name).read_bytes() for name in ("empty.zip", "spoilt.npz"))
    for content in (whole, whole[:-100], whole[:200] + b"x" + whole[201:], b"damaged", b"", *others):
        file.write_bytes(content)
        again = input_ranges(folder)
        assert again.keys() == ranges.keys()
        assert all((again[name] == of).all() for name, of in ranges.items())


def test_without_a_home_they_are_measured_each_time(tiny_transformer, monkeypatch):
    """A user without a home, as in a container, can use int8."""
    monkeypatch.setenv("TEXTSIAM_CACHE", "~nobody-has-this-name/x")
    assert Siamese.load(tiny_transformer("bert"), dtype="int8").encode(["pay my order"]).shape == (1, 32)


def test_the_rounded_product_is_near_the_exact_one():
    """A layer of each kind, with channels that reach far: within two percent of the product's size."""
    import openvino as ov
    from openvino import opset14 as op

    rng = np.random.default_rng(0)
    for d_in, d_out in ((64, 64), (256, 64)):
        x = rng.normal(size=(40, d_in)).astype(np.float32)
        x[:, rng.choice(d_in, N_APART // 2, replace=False)] *= 20
        weights = rng.normal(size=(d_out, d_in)).astype(np.float32)
        given = op.parameter([-1, d_in], np.float32)
        node = in_int8({"layer": np.stack([x.min(0), x.max(0)])})(given, "layer", weights)
        found = ov.Core().compile_model(ov.Model([node], [given]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]
        assert np.abs(found - x @ weights.T).mean() < 0.02 * np.abs(x @ weights.T).mean()


def test_the_default_carries_its_record():
    """In the file that ships with it: both classes were measured on every real pair."""
    from importlib.resources import files

    told = json.loads(files("textsiam.scoring").joinpath("default.json").read_text(encoding="utf-8"))
    measured = told["threshold"]["evidence"]["agreement"]
    assert all(
        measured[dtype]["share"] >= LOWEST and measured[dtype]["pairs"] > 10_000 for dtype in ("bfloat16", "int8")
    )
    assert measured["int8"]["at_least"] >= LOWEST
    assert measured["int8"]["cuts"] == [told["threshold"]["value"], told["reject_threshold"]["value"]]


@pytest.mark.shared
@pytest.mark.long
def test_int8_decides_alike_on_real_questions(coarse, model, shared):
    """Held out from nothing here, but counted: 99.9 % of the dev pairs are decided as in fp32."""
    dev = read_pairs(shared / "qqp_pairs.parquet", split="dev")
    assert agreement(model, coarse, dev)["share"] >= LOWEST
