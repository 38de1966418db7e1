"""What earlier code wrote opens as it was: a model folder and an index of commit a2169c2, before the modules moved."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from textsiam import Index, Siamese

BEFORE = Path(__file__).parent / "samples" / "written_before"
EXPECTED = json.loads((BEFORE / "expected.json").read_text(encoding="utf-8"))
TEXTS = [
    "how do i pay", "how can i pay", "where is my order", "where is the order", "reset my password", "can i reset my password",
    "refund my order", "the refund", "is the order where", "a password", "how do i refund", "pay the refund",
]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A copy, for opening an index touches its files."""
    return shutil.copytree(BEFORE, tmp_path_factory.mktemp("before") / "written")


@pytest.fixture(scope="module")
def then(written):
    return Siamese.load(written / "model", backend="pytorch", dtype="float32", device="cpu")


def test_a_model_folder_of_before_scores_and_decides_as_it_did(then):
    """Scores, probabilities, decisions and both thresholds are those that were noted when it was written."""
    sides = TEXTS[:6], TEXTS[6:]
    assert then.score(*sides) == pytest.approx(EXPECTED["scores"], abs=1e-6)
    assert then.probability(*sides) == pytest.approx(EXPECTED["probabilities"], abs=1e-3)
    assert then.decide(*sides).tolist() == EXPECTED["decisions"]
    assert (then.threshold.value, then.reject_threshold.value) == (EXPECTED["threshold"], EXPECTED["reject_threshold"])
    assert then.threshold.guarantee == "precision ≥ 0.80 with 90 % confidence"


def test_a_model_folder_is_written_as_before(then, written, tmp_path):
    """The same files, and in ``textsiam.json`` the same keys with the same values; the card may say more."""
    then.save(tmp_path / "again")
    files = [
        {path.relative_to(of).as_posix() for path in of.rglob("*")} for of in (written / "model", tmp_path / "again")
    ]
    assert files[0] == files[1]
    told = [json.loads((of / "textsiam.json").read_text("utf-8")) for of in (written / "model", tmp_path / "again")]
    for record in told:
        # of the card, or of the last digit of a vector; then there were no vetoes
        for key in ("checksum", "files", "canaries", "environment", "vetoes"):
            record.pop(key, None)
    assert told[0] == told[1]


def test_an_index_of_before_answers_and_grows(then, written):
    """It is sound, finds what it found, keeps its clusters, and takes another text."""
    with Index.open(written / "index", then) as index:
        assert (len(index), bool(index.verify())) == (EXPECTED["n"], True)
        found = index.search(["how do i pay", "refund my order"], threshold=0.9)
        left, right, scores = EXPECTED["found"]
        assert found.left.tolist() == left
        assert [name for name in found.right_ids if name] == [name for name in right if name]
        assert found.score == pytest.approx(np.array(scores), abs=1e-6)
        clusters = index.clusters()
        assert (clusters.cluster.tolist(), list(clusters.ids)) == (EXPECTED["cluster"], EXPECTED["ids"])
        assert index.add(["new"], ["how do i pay"]).id_columns()[1][:1] == ["q0"]
        assert index.remove(["new"]) == 1
