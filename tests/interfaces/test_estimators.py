"""scikit-learn's door: its own checks, and contracts of ours for what they do not reach with text."""

import pickle
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy.sparse import csr_array, hstack
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from textsiam import Siamese, folds, read_pairs
from textsiam.encoding.encoder import Encoder, RememberingEncoder
from textsiam.errors import EncoderMismatch, ModelNotFound, UnreadableInput
from textsiam.interfaces.estimators import PairClassifier, PairKFold, PairScorer, SentenceEncoder, models
from textsiam.samples import PAIRS

FP32 = dict(device="cpu", dtype="float32")
TEXTS = ["How do I pay?", "Can I pay by card?", "Where is my parcel?", "My parcel is late"]
MADE = (SentenceEncoder, PairScorer, PairClassifier)


@pytest.fixture(scope="module")
def pairs():
    return read_pairs(PAIRS)


@pytest.fixture(scope="module")
def frame(pairs):
    return pd.DataFrame({"first": list(pairs.first), "second": list(pairs.second)})


class _Numbers:
    """As if numbers were texts, so that scikit-learn runs its checks on tables of them, and not only those without data."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


class NumbersEncoder(_Numbers, SentenceEncoder):
    """With its own parameters."""

    __init__ = SentenceEncoder.__init__


class NumbersScorer(_Numbers, PairScorer):
    """With its own parameters."""

    __init__ = PairScorer.__init__


class NumbersClassifier(_Numbers, PairClassifier):
    """With its own parameters."""

    __init__ = PairClassifier.__init__


# scikit-learn's checks that cannot pass, and why. What they look at is looked at below with texts, where it can be.
COLUMNS = "gives tables of numbers with other than one column of texts, or two"
EMPTY = "wants no rows, or one, refused: no texts have no vectors, one text has one, both are answers"
NUMBERS = "gives numbers, which are unusable texts: there is nothing to learn from them"
ONE_D = "wants one-dimensional input refused: texts are just that"
HOOK = "gives parameters of any type, which these tests' check of types refuses; the package itself does not"
SPARSE = "wants the refusal of sparse or complex numbers in words of its own"
EXCEPTIONS = {
    **dict.fromkeys(
        [
            "check_fit_score_takes_y", "check_n_features_in_after_fitting", "check_estimators_dtypes", "check_dtype_object",
            "check_pipeline_consistency", "check_estimators_pickle", "check_f_contiguous_array_estimator",
            "check_transformer_data_not_an_array", "check_transformer_general", "check_transformer_preserve_dtypes",
            "check_transformers_unfitted_stateless", "check_methods_sample_order_invariance", "check_dict_unchanged",
            "check_methods_subset_invariance", "check_fit_idempotent", "check_n_features_in", "check_supervised_y_2d",
            "check_dont_overwrite_parameters", "check_positive_only_tag_during_fit", "check_fit2d_1feature",
            "check_classifier_data_not_an_array", "check_requires_y_none", "check_fit2d_predict1d",
        ],
        COLUMNS,
    ),
    **dict.fromkeys(["check_estimators_empty_data_messages", "check_fit2d_1sample"], EMPTY),
    **dict.fromkeys(
        [
            "check_estimators_overwrite_params", "check_estimators_fit_returns_self", "check_readonly_memmap_input",
            "check_classifiers_one_label", "check_classifiers_classes", "check_classifiers_train", "check_fit_check_is_fitted",
            "check_decision_proba_consistency", "check_estimators_unfitted", "check_classifier_not_supporting_multiclass",
        ],
        NUMBERS,
    ),
    "check_fit1d": ONE_D,
    "check_do_not_raise_errors_in_init_or_set_params": HOOK,
    **dict.fromkeys(
        ["check_complex_data", "check_estimator_sparse_tag", "check_estimator_sparse_array", "check_estimator_sparse_matrix"],
        SPARSE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", [NumbersEncoder, NumbersScorer, NumbersClassifier])
def test_scikit_learns_own_checks(kind):
    """Each of its checks passes but those named above."""
    told = check_estimator(kind(**FP32), on_fail=None, on_skip=None)
    failed = {one["check_name"]: one["exception"] for one in told if one["status"] == "failed"}
    assert failed.keys() <= EXCEPTIONS.keys(), {name: failed[name] for name in failed.keys() - EXCEPTIONS.keys()}
    assert sum(one["status"] == "passed" for one in told) >= 15


@pytest.mark.parametrize("kind", MADE)
def test_parameters_are_kept_as_they_came(kind, tmp_path):
    """As `clone` and grids need it: no copy, no check before `fit`; all are told by `get_params` and set by `set_params`."""
    made = kind(model=tmp_path, remember=7)
    assert clone(made).get_params() == made.get_params()
    assert made.get_params()["model"] is tmp_path
    assert kind().set_params(**made.get_params()).get_params() == made.get_params()
    with pytest.raises(ValueError, match="Invalid parameter"):
        made.set_params(colour="red")
    assert repr(made).startswith(kind.__name__)


def test_vectors_are_the_models(model):
    """Of any column of texts; unusable ones are NaN."""
    expected = model.encode(TEXTS)
    shapes = [
        TEXTS,
        np.array(TEXTS),
        np.array(TEXTS, dtype=object)[:, None],
        pd.Series(TEXTS, index=[5, 3, 9, 1]),
        pd.DataFrame({"text": TEXTS}),
        pl.Series(TEXTS),
        pl.DataFrame({"text": TEXTS}),
        [[text] for text in TEXTS],
    ]
    for given in shapes:
        assert SentenceEncoder(**FP32).fit_transform(given) == pytest.approx(expected, abs=1e-5)
    told = SentenceEncoder(**FP32).fit_transform(["How do I pay?", None, " "])
    assert np.isnan(told).all(axis=1).tolist() == [False, True, True]
    assert SentenceEncoder(**FP32).transform([]).shape == (0, 384)
    with pytest.raises(UnreadableInput, match="got 2"):
        SentenceEncoder(**FP32).fit_transform([["a", "b"]])
    with pytest.raises(UnreadableInput, match="one string"):
        SentenceEncoder(**FP32).fit_transform("How do I pay?")


def test_a_prompt_and_a_model_object_are_used(model):
    """As `Siamese.encode` does."""
    told = SentenceEncoder(model, prompt="query: ").fit_transform(TEXTS)
    assert told == pytest.approx(model.encode(TEXTS, prompt="query: "), abs=1e-5)
    assert clone(SentenceEncoder(model)).fit_transform(TEXTS).shape == (4, 384)


def test_outputs_are_named(frame):
    """pandas and polars come back when asked for, with the names of the features."""
    told = PairScorer(**FP32).set_output(transform="pandas").fit_transform(frame)
    assert list(told.columns) == ["similarity", "overlap", "characters", "length", "numbers", "negation", "entities"]
    assert told.index.equals(frame.index)
    polars = SentenceEncoder(**FP32).set_output(transform="polars").fit_transform(frame["first"])
    assert isinstance(polars, pl.DataFrame)
    assert polars.columns[:2] == ["sentenceencoder0", "sentenceencoder1"]
    wide = PairScorer(features=[], vectors=True, **FP32).fit(frame)
    assert wide.transform(frame).shape == (len(frame), 768)
    assert wide.get_feature_names_out()[[0, 384]].tolist() == ["difference0", "product0"]


def test_pair_features_are_what_they_say(model):
    """Similarity as `Siamese.score` gives it; every feature in [0, 1]; a pair with an unusable text is NaN."""
    given = [("How do I pay €100?", "How do I pay €1000?"), ("I can pay", "I cannot pay"), (None, "Pay?"), ("?", "?")]
    told = PairScorer(**FP32).fit_transform(given)
    names = PairScorer(**FP32).get_feature_names_out().tolist()
    assert told[:2, 0] == pytest.approx(model.score(*zip(*given[:2], strict=True)), abs=1e-5)
    assert (told[0, names.index("numbers")], told[1, names.index("numbers")]) == (1, 0)
    assert (told[0, names.index("negation")], told[1, names.index("negation")]) == (0, 1)
    assert np.isnan(told[2]).all()
    others = told[[0, 1, 3], 1:]
    assert ((others >= 0) & (others <= 1)).all()
    for wrong, message in (
        ({"features": ["colour"]}, "no feature 'colour'"),
        ({"features": []}, "No feature"),
    ):
        with pytest.raises(ValueError, match=message):
            PairScorer(**wrong).fit(given)
    with pytest.raises(TypeError, match=r"Write \['length'\]"):
        PairScorer(features="length").fit(given)
    for bad in ([("a", "b", "c")], [("a",)], ["ab"], np.zeros((2, 2, 2))):
        with pytest.raises(UnreadableInput):
            PairScorer(**FP32).fit_transform(bad)


def test_columns_of_a_table_are_chosen_by_name(frame, pairs):
    """ColumnTransformer hands each its columns; other names than those fitted on are refused."""
    table = frame.assign(price=1.0)
    made = ColumnTransformer(
        [
            ("pair", PairScorer(**FP32), ["first", "second"]),
            ("text", SentenceEncoder(**FP32), "first"),
            ("price", "passthrough", ["price"]),
        ]
    )
    assert made.fit_transform(table).shape == (len(table), 7 + 384 + 1)
    union = FeatureUnion([("a", PairScorer(features=["similarity"], **FP32)), ("b", PairScorer(**FP32))])
    assert union.fit_transform(frame).shape == (len(frame), 8)
    fitted = PairClassifier(**FP32).fit(frame, pairs.labels)
    assert fitted.feature_names_in_.tolist() == ["first", "second"]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame.rename(columns={"first": "third"}))


def test_the_classifier_is_the_models_calibration(model, pairs):
    """Calibrated as `Siamese.calibrate` does; predictions, probabilities and decision function agree."""
    fitted = PairClassifier(**FP32).fit(pairs, pairs.labels)
    expected = model.calibrate(pairs).probability(pairs.first, pairs.second)
    told = fitted.predict_proba(pairs)
    assert told[:, 1] == pytest.approx(expected, abs=1e-3)
    assert told.sum(axis=1) == pytest.approx(1)
    decided = fitted.decision_function(pairs)
    assert ((decided > 0) == (told[:, 1] >= 0.5)).all()
    assert (fitted.predict(pairs) == (decided > 0)).all()
    assert (np.argsort(decided) == np.argsort(model.judgement(pairs.first, pairs.second).log_odds)).all()
    unusable = [(None, "a"), ("How do I pay?", "How do I pay?")]
    assert fitted.predict(unusable).tolist() == [0, 1]
    assert np.isnan(fitted.predict_proba(unusable)[0]).all()
    assert fitted.predict([]).shape == (0,)


@pytest.mark.parametrize("labels", [("no", "yes"), (False, True), (-1, 1), (0.0, 1.0)])
def test_any_two_labels_will_do(pairs, labels):
    """The one that sorts last means the same; other numbers of labels are refused."""
    y = np.array(labels)[pairs.labels]
    fitted = PairClassifier(**FP32).fit(pairs, y)
    assert fitted.classes_.tolist() == list(labels)
    assert fitted.score(pairs, y) > 0.5  # the samples are hard on purpose
    assert set(fitted.predict(pairs)) == set(labels)
    for wrong in (y[:1].repeat(len(y)), np.arange(len(y)) % 3):
        with pytest.raises(ValueError, match="binary"):
            PairClassifier(**FP32).fit(pairs, wrong)


def test_what_cannot_be_is_refused(pairs):
    """Before the work, with the remedy."""
    wrongs = ({"learn": "memory"}, {"method": "magic"}, {"remember": -1}, {"random_state": -1})
    for wrong, told in zip(wrongs, ("learn is", "no calibration 'magic'", "remember is", "seed"), strict=True):
        with pytest.raises(ValueError, match=told):
            PairClassifier(**(FP32 | wrong)).fit(pairs, pairs.labels)
    with pytest.raises(UnreadableInput, match="has a label"):
        PairClassifier(**FP32).fit(pairs, pairs.labels[1:])
    with pytest.raises(UnreadableInput, match="one label or group"):
        PairClassifier(**FP32).fit(pairs, pairs.labels, groups=[1])
    for method in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(PairClassifier(**FP32), method)(pairs)
    with pytest.raises(ValueError, match="Unknown label type"):
        PairClassifier(**FP32).fit(pairs, np.linspace(0, 1, len(pairs)))
    with pytest.raises(ValueError, match="y is None"):
        PairClassifier(**FP32).fit(pairs, None)
    with pytest.raises(UnreadableInput, match="Sparse"):
        PairScorer(**FP32).fit_transform(csr_array([[1.0, 2.0]]))


def test_folds_do_not_leak(pairs, frame, model):
    """As `textsiam.folds` parts them; groups stay together; in scikit-learn's own functions."""
    expected = [(train.rows, test.rows) for train, test in folds(pairs, 3, seed=1)]
    told = [(train + 1, test + 1) for train, test in PairKFold(3, random_state=1).split(frame, pairs.labels)]
    assert [(list(a), list(b)) for a, b in told] == [(list(a), list(b)) for a, b in expected]
    groups = np.arange(len(pairs)) // 7
    for train, test in PairKFold(3).split(frame, pairs.labels, groups):
        assert not set(groups[train]) & set(groups[test])
    found = cross_val_score(PairClassifier(**FP32), frame, pairs.labels, cv=PairKFold(3), scoring="average_precision")
    scores = model.judgement(pairs.first, pairs.second).log_odds
    parts = [test for _, test in PairKFold(3).split(frame, pairs.labels)]
    assert found == pytest.approx([average_precision_score(pairs.labels[test], scores[test]) for test in parts])


def test_groups_are_routed(pairs, frame):
    """With metadata routing both the folds and the classifier get them."""
    groups = np.arange(len(pairs)) // 2
    with sklearn.config_context(enable_metadata_routing=True):
        made = make_pipeline(PairClassifier(**FP32).set_fit_request(groups=True))
        told = cross_validate(
            made, frame, pairs.labels, cv=PairKFold(3), params={"groups": groups}, return_estimator=True
        )
    evidence = [one[-1].calibrator_.evidence for one in told["estimator"]]
    assert all(one["n_components"] <= one["n_labels"] / 2 + 1 for one in evidence)


def test_a_grid_is_searched(pairs, frame):
    """Over features and over models; in processes of its own too."""
    made = make_pipeline(PairScorer(**FP32), StandardScaler(), LogisticRegression())
    grid = {"pairscorer__features": [["similarity"], None], "logisticregression__C": [0.1, 1]}
    found = GridSearchCV(made, grid, cv=PairKFold(3), scoring="average_precision", n_jobs=2).fit(frame, pairs.labels)
    assert found.best_score_ > 0.85
    assert found.best_estimator_.predict(frame).shape == (len(frame),)


def test_texts_are_encoded_once(model, frame, pairs, monkeypatch):
    """However many folds and grid points ask for them; with remember=0 each time."""
    encoded = []
    embed = type(model.encoder.backend).embed_many

    def counted(self, batches):
        batches = list(batches)
        encoded.extend(len(rows) for rows, *_ in batches)
        return embed(self, batches)

    monkeypatch.setattr(type(model.encoder.backend), "embed_many", counted)
    n = len({*pairs.first, *pairs.second})
    for remember, times in ((4_321, 1), (0, 3)):
        encoded.clear()
        scorer = PairScorer(remember=remember, **FP32).fit(frame)
        encoded.clear()
        for _ in range(3):
            scorer.transform(frame)
        assert sum(encoded) == times * n


def test_what_is_remembered_is_bounded(tiny_transformer):
    """In number, and in memory whatever the texts' length: the texts themselves are not kept."""
    encoder = RememberingEncoder(Encoder.load(tiny_transformer(), backend="pytorch", **FP32), 100)
    encoder.encode(["pay"])
    held = []
    for length in (3, 20_000):
        tracemalloc.start()
        for start in range(0, 600, 30):
            encoder.embed([f"{place} ".ljust(length, "x") for place in range(start, start + 30)])
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert 50 <= len(encoder._young) + len(encoder._old) <= 100
    assert max(held) < 100 * (4 * encoder.dim + 300) + 50_000, held  # besides, libraries keep a little


def test_pickled_it_holds_no_weights(tmp_path, pairs, frame):
    """A few kilobytes; read in another process it predicts the same; with another model in the folder it refuses."""
    Siamese.load(**FP32).save(tmp_path / "model")
    fitted = make_pipeline(PairClassifier(tmp_path / "model", **FP32)).fit(frame, pairs.labels)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    assert (tmp_path / "fitted.joblib").stat().st_size < 100_000
    code = (
        "import joblib, sys; from textsiam import read_pairs; from textsiam.samples import PAIRS\n"
        "pairs = read_pairs(PAIRS); print(joblib.load(sys.argv[1]).predict(list(zip(pairs.first, pairs.second))).tolist())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "fitted.joblib")], capture_output=True, text=True, check=True
    ).stdout
    assert told.strip() == str(fitted.predict(frame).tolist())
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301  our own
    other = tmp_path / "model" / "config.json"
    other.write_text(other.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(Exception, match="altered|another|not the"):
        again.predict(frame)


def test_another_model_is_refused(tiny_transformer, pairs):
    """Numbers of one encoder are good for no other, nor what was fitted on its vectors."""
    fitted = PairClassifier(**FP32).fit(pairs, pairs.labels)
    scorer = PairScorer(**FP32).fit(pairs)
    for made in (fitted, scorer):
        made.set_params(model=tiny_transformer(), backend="pytorch")
    with pytest.raises(EncoderMismatch, match="this PairClassifier was fitted"):
        fitted.predict(pairs)
    with pytest.raises(EncoderMismatch, match="this PairScorer was fitted"):
        scorer.transform(pairs)
    assert scorer.fit(pairs).transform(pairs).shape == (len(pairs), 7)


@pytest.fixture
def looked_up(monkeypatch, tiny_transformer, tmp_path):
    """A model named `owner/name`, which lies in a folder as if from the Hub; how often it was looked up."""
    shutil.copytree(tiny_transformer(), tmp_path / "snapshot")
    names, find_model = [], models.find_model

    def find(name):
        if name != "owner/name":
            return find_model(name)
        names.append(name)
        if not (tmp_path / "snapshot").is_dir():
            raise ModelNotFound(f"The Hub gave no {name}.")
        return tmp_path / "snapshot"

    monkeypatch.setattr(models, "find_model", find)
    return names


@pytest.mark.parametrize("kind", MADE)
def test_a_name_is_looked_up_once_a_fit(kind, looked_up, pairs, frame):
    """Not for what comes after, pickled or not; elsewhere again, if the folder is not there."""
    given = frame[["first"]] if kind is SentenceEncoder else frame
    fitted = kind("owner/name", backend="pytorch", **FP32).fit(given, pairs.labels)
    assert looked_up == ["owner/name"]
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301  our own
    for made in (fitted, again):
        for method in ("transform", "predict", "predict_proba"):
            if hasattr(made, method):
                getattr(made, method)(given)
        if hasattr(made, "transform"):
            made.get_feature_names_out()
    assert looked_up == ["owner/name"]
    clone(fitted).fit(given, pairs.labels)
    assert looked_up == ["owner/name"] * 2


def test_a_folder_named_from_here_is_known_elsewhere(tiny_transformer, tmp_path, frame, monkeypatch):
    """A relative path was looked up from where the process was; it is read once, and goes on to be found."""
    shutil.copytree(tiny_transformer(), tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    models._loaded.cache_clear()
    scorer = PairScorer("here", backend="pytorch", **FP32).fit(frame)
    expected = scorer.transform(frame)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (pickle.loads(pickle.dumps(scorer)).transform(frame) == expected).all()  # noqa: S301  our own
    assert models._loaded.cache_info().misses == 1


def test_a_model_that_stayed_behind_is_missed_by_name(looked_up, tmp_path, frame, pairs, tiny_transformer):
    """Found again by its name it must be the same; found nowhere, the error says where it was; elsewhere it can be named."""
    scorer = PairScorer("owner/name", backend="pytorch", **FP32).fit(frame)
    expected = scorer.transform(frame)
    (tmp_path / "snapshot").rename(tmp_path / "moved")
    with pytest.raises(ModelNotFound, match=r"snapshot, which is not here.* gave no owner/name.*set_params"):
        scorer.transform(frame)
    assert (scorer.set_params(model=tmp_path / "moved").transform(frame) == expected).all()
    scorer.set_params(model="owner/name")
    shutil.copytree(tiny_transformer("roberta"), tmp_path / "snapshot")
    with pytest.raises(EncoderMismatch, match="another"):
        scorer.transform(frame)


def test_predictions_look_at_the_models_files_once(monkeypatch, frame, pairs):
    """Probabilities too."""
    fitted = PairClassifier(**FP32).fit(frame, pairs.labels)
    read, loaded = [], models.loaded
    monkeypatch.setattr(models, "loaded", lambda *given: (read.append(given), loaded(*given))[1])
    for method in ("predict", "predict_proba", "decision_function"):
        read.clear()
        getattr(fitted, method)(frame)
        assert len(read) == 1


def test_fine_tuning_learns_and_travels(tiny_transformer, tmp_path, pairs, frame):
    """The tuned model answers, calibrated on pairs that it was not trained on; in a folder it can be pickled."""
    more = dict(learn="fine_tuning", training={"max_steps": 3, "batch_size": 16}, backend="pytorch", **FP32)
    fitted = PairClassifier(tiny_transformer(), folder=tmp_path / "tuned", **more).fit(frame, pairs.labels)
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301  our own
    assert (again.predict_proba(frame) == fitted.predict_proba(frame)).all()
    assert Siamese.load(fitted.source_, **FP32).calibrator is not None
    (tmp_path / "tuned").rename(tmp_path / "moved")
    with pytest.raises(ModelNotFound, match="Bring that folder"):
        again.predict(frame)
    again.source_ = str(tmp_path / "moved" / Path(fitted.source_).name)
    assert again.predict(frame).shape == (len(frame),)
    fitted.set_params(learn="calibration").fit(frame, pairs.labels)
    assert fitted.source_ is None
    assert pickle.loads(pickle.dumps(fitted)).predict(frame).shape == (len(frame),)  # noqa: S301  our own
    passing = PairClassifier(tiny_transformer(), **more).fit(frame, pairs.labels)
    with pytest.raises(TypeError, match="Name a folder"):
        pickle.dumps(passing)
    assert passing.fingerprint_ == again.fingerprint_  # the same seed


def test_a_fit_that_fails_changes_nothing(pairs):
    """What was fitted before goes on to answer."""
    fitted = PairClassifier(**FP32).fit(pairs, np.where(pairs.labels, "same", "other"))
    before = fitted.predict(pairs).tolist()
    with pytest.raises(UnreadableInput):
        fitted.fit([("a", "b"), ("c", "d")], [0, 1])
    assert fitted.predict(pairs).tolist() == before


def test_a_model_object_is_shared(model):
    """clone copies the parameters, and not the model."""
    made = PairScorer(model)
    assert clone(made).get_params()["model"].encoder is model.encoder


def test_groups_leave_the_folds_their_size(pairs, frame):
    """They keep pairs together and do not chain all others."""
    sizes = [len(test) for _, test in PairKFold(4).split(frame, pairs.labels)]
    grouped = [len(test) for _, test in PairKFold(4).split(frame, pairs.labels, np.arange(len(pairs)))]
    assert grouped == sizes


def test_pairs_as_they_were_read_are_cross_validated(pairs, frame):
    """As the same texts in a data frame are; as an array they are (n, 2)."""
    made = make_pipeline(PairScorer(**FP32), StandardScaler(), LogisticRegression())
    told = cross_val_score(made, pairs, pairs.labels, cv=PairKFold(3))
    assert (told == cross_val_score(made, frame, pairs.labels, cv=PairKFold(3))).all()
    assert (np.asarray(pairs) == frame.to_numpy()).all()
    assert np.asarray(pairs.take([])).shape == (0, 2)
    with pytest.raises(ValueError, match="only a copy"):
        np.asarray(pairs, copy=False)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "n_pairs"),
    [("qqp_pairs", 800), *(pytest.param(name, 2_000, marks=pytest.mark.long) for name in ("qqp_pairs", "mrpc"))],
)
def test_pipelines_beat_tf_idf(shared, name, n_pairs):
    """Under the same leak-free folds, on real pairs, with the same classifier."""
    table = read_pairs(shared / f"{name}.parquet", split="train")
    table = table.take(np.random.default_rng(0).permutation(len(table))[:n_pairs])
    frame = pd.DataFrame({"first": list(table.first), "second": list(table.second)})
    found = {
        label: cross_val_score(made, frame, table.labels, cv=PairKFold(3), scoring="average_precision").mean()
        for label, made in (
            ("ours", make_pipeline(PairScorer(), StandardScaler(), LogisticRegression())),
            ("tf-idf", make_pipeline(TfIdf(), LogisticRegression(C=3, max_iter=500))),
        )
    }
    assert found["ours"] > found["tf-idf"] + 0.04, found


class TfIdf(TransformerMixin, BaseEstimator):
    """Words and pairs of words that one text or both have."""

    def fit(self, X, y=None):
        self.vectorizer_ = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        self.vectorizer_.fit([*X["first"], *X["second"]])
        return self

    def transform(self, X):
        a, b = (self.vectorizer_.transform(X[name]) for name in ("first", "second"))
        return hstack([abs(a - b), a.multiply(b)]).tocsr()


def test_a_frame_is_read_by_place_whatever_its_names():
    """`first` and `second` are methods of pandas 2's frames."""
    from textsiam.interfaces.estimators.inputs import two_columns

    frame = pd.DataFrame({"second": ["a", "b"], "first": ["c", "d"]})
    assert [list(column) for column in two_columns(frame)] == [["a", "b"], ["c", "d"]]


def test_one_label_alone_is_what_it_says():
    """All 1 chains, all 0 chains nothing."""
    pairs = [("a", "b"), ("b", "c"), ("d", "e"), ("f", "g")]
    together = [{*test} for _, test in PairKFold(2).split(pairs, [1, 1, 1, 1])]
    assert any({0, 1} <= test for test in together)
    assert [{*test} for _, test in PairKFold(2).split(pairs)] == together
