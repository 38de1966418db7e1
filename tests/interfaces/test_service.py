"""The HTTP service, started as a user starts it, and asked over a socket."""

import base64
import concurrent.futures
import io
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textsiam import Index, find_duplicates
from textsiam.auditing.audit import start_audit
from textsiam.matching.matches import Matches
from textsiam.samples import QUESTIONS

FP32 = ("--device", "cpu", "--dtype", "float32")


@pytest.fixture(scope="module")
def service(tmp_path_factory, serving):
    folder = tmp_path_factory.mktemp("service") / "faq"
    done = [sys.executable, "-m", "textsiam", "index", "add", str(folder), str(QUESTIONS), "--threshold", "0.8", *FP32]
    subprocess.run(done, check=True, capture_output=True)
    made = serving("--index", folder)
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def judging(tmp_path_factory, serving, judged):
    """A service whose model has a judge, with an empty index of that model."""
    folder = tmp_path_factory.mktemp("judging")
    judged.save(folder / "model")
    with Index.create(folder / "faq", judged):
        pass
    made = serving(folder / "model", "--index", folder / "faq")
    yield made
    assert made.stop() == 0


def told(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


def test_openais_client_gets_our_vectors(service, model):
    """Its own library, in floats and base64 (which is its default)."""
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    texts = ["How do I pay?", "Where is my parcel?", "How do I pay?"]
    expected = model.encode(texts)
    for form in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"dimensions": 384}):
        answer = client.embeddings.create(model="any", input=texts, **form)
        vectors = [
            np.frombuffer(base64.b64decode(one.embedding), dtype="<f4")
            if isinstance(one.embedding, str)
            else one.embedding
            for one in answer.data
        ]
        assert np.array(vectors, dtype=np.float32) == pytest.approx(expected, abs=1e-5)
        assert [one.index for one in answer.data] == [0, 1, 2]
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 12
    assert len(client.embeddings.create(model="any", input="How do I pay?").data) == 1
    assert client.models.list().data[0].id == "sentence-transformers/all-MiniLM-L6-v2"
    with pytest.raises(openai.BadRequestError, match="384 numbers, but got dimensions=5"):
        client.embeddings.create(model="any", input=texts, dimensions=5)
    unusable = client.embeddings.create(model="any", input=["How do I pay?", ""], encoding_format="float")
    assert unusable.data[0].embedding == pytest.approx(expected[0], abs=1e-5)
    assert unusable.data[1].embedding is None
    assert unusable.set_aside == [{"position": 1, "reason": "empty"}]


def test_pairs_are_decided_and_explained(service, model):
    """As the package does; a pair with an unusable text has no score, and the others have."""
    pairs = [["How do I pay €100?", "How do I pay €1000?"], ["How do I pay?", " "], ["long " * 400, "short"]]
    answer = told(service.client.post("/v1/pairs", json={"pairs": pairs, "explain": True}))
    scores = model.score(*zip(*pairs, strict=True))
    assert answer["pairs"][0]["score"] == pytest.approx(float(scores[0]), abs=1e-5)
    assert answer["pairs"][0]["probability"] == pytest.approx(
        float(model.probability(*zip(*pairs, strict=True))[0]), abs=1e-3
    )
    assert answer["pairs"][0]["decision"] == model.decide(*zip(*pairs, strict=True))[0]
    assert "numbers" in json.dumps(answer["pairs"][0]["explanation"]["differences"])
    assert (answer["pairs"][1]["score"], answer["pairs"][1]["fault"]) == (None, "only whitespace")
    assert answer["truncated"] == [2]
    assert answer["accept"]["guarantee"].startswith("precision")
    assert answer["accept"]["value"] == pytest.approx(model.threshold.value)
    assert answer["accept"]["scale"] == model.scale


def test_similarity_is_a_matrix(service, model):
    """Each with each."""
    first, second = ["How do I pay?", "Where is it?"], ["How can I pay?", "Where?", " "]
    answer = told(service.client.post("/v1/similarity", json={"first": first, "second": second}))
    expected = [[float(model.score([a], [b])[0]) for b in second[:2]] for a in first]
    assert np.array(answer["scores"], dtype=float)[:, :2] == pytest.approx(np.array(expected), abs=1e-5)
    assert [row[2] for row in answer["scores"]] == [None, None]


def test_duplicates_are_those_of_the_package(service, model):
    """Pairs and clusters; unusable texts are set aside; against the index ids come back."""
    texts = ["How do I reset my password?", "", "How can I reset my password?", "Where is my parcel?"]
    answer = told(service.client.post("/v1/duplicates", json={"texts": texts, "threshold": 0.8}))
    expected = find_duplicates(model, texts, threshold=0.8)
    assert [(one["left"], one["right"]) for one in answer["pairs"]] == [(one.left, one.right) for one in expected]
    assert answer["clusters"] == [[0, 2]]
    assert answer["set_aside"] == [{"position": 1, "reason": "empty"}]
    there = told(service.client.post("/v1/duplicates", json={"texts": texts, "against_index": True}))
    assert there["clusters"] == []
    assert all(isinstance(one["right"], str) for one in there["pairs"])


QUESTIONED = [
    "How do I reset my password?",
    "How can I reset my password?",
    "Can I book a table for 2 people?",
    "Can I book a table for 3 people?",
    "Where is my parcel?",
]


def test_a_judge_decides_pairs(judging, judged):
    """By log-odds, which stand beside the probability; a veto gives its reason; the thresholds say that they cut log-odds."""
    first, second = [*QUESTIONED[:4:2], "", "Where?"], [*QUESTIONED[1:4:2], "Where?", "Where is the cat?"]
    answer = told(
        judging.client.post("/v1/pairs", json={"pairs": [list(pair) for pair in zip(first, second, strict=True)]})
    )
    expected = judged.judgement(first, second)
    for name in ("log_odds", "probability"):
        values = [np.nan if one[name] is None else one[name] for one in answer["pairs"]]
        assert values == pytest.approx(getattr(expected, name).tolist(), abs=2e-3, nan_ok=True)
    assert [one["decision"] for one in answer["pairs"]] == expected.decision.tolist()
    assert [one["reason"] for one in answer["pairs"][:2]] == [None, "number: 2 | 3"]
    assert (answer["accept"]["scale"], answer["reject"]["scale"]) == ("log-odds", "log-odds")
    assert answer["accept"]["value"] == pytest.approx(judged.threshold.value)


def test_a_judge_decides_duplicates(judging, judged):
    """Without a threshold, among what its candidate threshold finds; with a threshold of scores it is silent."""
    answer = told(judging.client.post("/v1/duplicates", json={"texts": QUESTIONED}))
    expected = find_duplicates(judged, QUESTIONED)
    assert (answer["decided"], answer["threshold"]) == (True, 0.6)
    assert [(one["left"], one["right"]) for one in answer["pairs"]] == [(one.left, one.right) for one in expected]
    assert [one["decision"] for one in answer["pairs"]] == expected.decision.tolist()
    assert answer["clusters"] == [[0, 1]]
    held = next(one for one in answer["pairs"] if one["left"] == 2)
    assert (held["decision"], held["reason"]) == ("review", "number: 2 | 3")
    assert held["log_odds"] > judged.threshold.value
    silent = told(judging.client.post("/v1/duplicates", json={"texts": QUESTIONED, "threshold": 0.8}))
    assert (silent["decided"], silent["threshold"]) == (False, 0.8)
    assert silent["clusters"] == [[0, 1], [2, 3]]
    assert {(one["log_odds"], one["decision"], one["reason"]) for one in silent["pairs"]} == {(None, None, None)}
    by_score = lines_of(judging, "\n".join(["question", *QUESTIONED]).encode(), name="a.csv", threshold="0.8")[-1][
        "answer"
    ]
    assert (by_score["decided"], by_score["accept"], by_score["threshold"]) == (False, None, 0.8)


def test_a_judge_decides_in_an_index(judging):
    """When texts are added, searched and compared; the k closest texts may hold some that it rejects."""
    asked = {"items": [{"id": f"x{n}", "text": text} for n, text in enumerate(QUESTIONED[:3])]}
    added = told(judging.client.post("/v1/index/add", json=asked))
    assert added["decided"]
    assert [(one["left"], one["right"], one["decision"]) for one in added["pairs"]] == [(1, "x0", "accept")]
    asked = {"texts": ["Can I book a table for 3 people?"]}
    for answer in (
        told(judging.client.post("/v1/index/search", json=asked)),
        told(judging.client.post("/v1/duplicates", json={**asked, "against_index": True})),
    ):
        assert (answer["decided"], answer["threshold"]) == (True, 0.6)
        ((right, decision, reason),) = [(one["right"], one["decision"], one["reason"]) for one in answer["pairs"]]
        assert (right, decision, reason) == ("x2", "review", "number: 3 | 2")
    closest = told(judging.client.post("/v1/index/search", json={**asked, "k": 3}))
    assert (closest["decided"], closest["threshold"]) == (True, None)
    assert {one["decision"] for one in closest["pairs"]} == {"review", "reject"}
    silent = told(judging.client.post("/v1/index/search", json={**asked, "threshold": 0.5}))
    assert (silent["decided"], silent["threshold"]) == (False, 0.5)
    assert all(one["log_odds"] is None for one in silent["pairs"])


def test_what_a_judge_says_is_in_the_schema(judging):
    """Every field of a judgement is described, and every threshold names its scale."""
    schemas = told(judging.client.get("/openapi.json"))["components"]["schemas"]
    for name in ("PairBody", "MatchBody"):
        fields = schemas[name]["properties"]
        assert {"score", "log_odds", "probability", "decision", "reason"} <= fields.keys()
        assert all(fields[field]["description"] for field in ("score", "log_odds", "decision", "reason"))
    for name in ("DuplicatesBody", "SearchBody", "AddBody"):
        assert "judge" in schemas[name]["properties"]["decided"]["description"]
    assert "log-odds" in schemas["ThresholdBody"]["properties"]["scale"]["description"]


def test_an_audit_proves_a_threshold(service):
    """The sample of `start_audit`, and what `Audit.finish` says of its labels; nothing is kept between the two requests."""
    scores = np.linspace(0.7, 1.0, 2_000).round(6).tolist()
    asked = {"scores": scores, "n": 200, "seed": 3}
    sample = told(service.client.post("/v1/audit", json=asked))["sample"]
    assert sample == told(service.client.post("/v1/audit", json=asked))["sample"]
    assert len(set(sample)) == 200
    rows = np.arange(2_000)
    matches = Matches(
        rows,
        rows,
        np.array(scores, dtype=np.float32),
        2_000,
        2_000,
        left_texts=["a"] * 2_000,
        right_texts=["b"] * 2_000,
    )
    audit = start_audit(matches, n=200, seed=3)
    assert [int(name) for name in audit.pairs.id_a] == sample
    labels = [{"position": place, "is_same": scores[place] > 0.8} for place in sample]
    answer = told(service.client.post("/v1/audit/finish", json={**asked, "labels": labels, "precision": 0.9}))
    expected = audit.label({number: one["is_same"] for number, one in enumerate(labels, 1)}).finish(0.9)
    assert answer["threshold"]["value"] == pytest.approx(expected.threshold.value)
    assert answer["threshold"]["guarantee"] == expected.threshold.guarantee
    assert answer["precision"] == pytest.approx(expected.precision.value)
    assert (answer["labelled"], answer["not_labelled"]) == (200, 0)
    assert (
        "Label some"
        in told(service.client.post("/v1/audit/finish", json={**asked, "labels": []}), 409)["error"]["message"]
    )


def test_the_index_is_added_to_searched_and_removed_from(service):
    """What is added is found at once, and gone when removed; the same again changes nothing."""
    before = told(service.client.get("/v1/index"))["texts"]
    texts = ["What is a wombat?", "What's a wombat?", " "]
    asked = {"items": [{"id": f"x{n}", "text": text} for n, text in enumerate(texts, 1)]}
    answer = told(service.client.post("/v1/index/add", json=asked))
    assert (answer["added"], answer["in_index"]) == (2, before + 2)
    assert [(one["left"], one["right"]) for one in answer["pairs"]] == [(1, "x1")]
    assert answer["set_aside"] == [{"position": 2, "reason": "only whitespace"}]
    assert told(service.client.post("/v1/index/add", json=asked))["added"] == 0
    found = told(service.client.post("/v1/index/search", json={"texts": ["What is a wombat?"], "k": 2}))
    assert [(one["right"], one["text"]) for one in found["pairs"]] == [
        ("x1", texts[0]),
        ("x2", texts[1]),
    ]
    assert found["recall"] is None
    assert told(service.client.post("/v1/index/remove", json={"ids": ["x1", "x2", "none"]}))["removed"] == 2
    assert told(service.client.post("/v1/index/search", json={"texts": ["What is a wombat?"]}))["pairs"] == []


def test_state_is_told(service):
    """Health, readiness, counters; the log holds no text."""
    assert told(service.client.get("/health")) == {"status": "ok"}
    assert told(service.client.get("/ready")) == {"status": "ready"}
    service.client.post("/v1/embeddings", json={"input": "a secret wombat"})
    counters = service.client.get("/metrics").text
    assert 'textsiam_requests_total{path="/v1/embeddings",status="200"}' in counters
    assert "textsiam_texts_encoded_total" in counters
    time.sleep(0.2)
    lines = [json.loads(line) for line in service.lines if line.startswith("{")]
    assert {"path", "status", "ms", "request"} <= lines[-1].keys()
    assert any(line.get("texts") == 1 for line in lines)
    assert "wombat" not in "".join(service.lines)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/embeddings", {"input": []}, 422, "input"),
        ("/v1/embeddings", {"input": 5}, 422, "input"),
        ("/v1/embeddings", {}, 422, "input"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "xml"}, 422, "encoding_format"),
        ("/v1/embeddings", {"input": ["a"] * 2_049}, 400, "2,048"),
        ("/v1/embeddings", {"input": "a" * 50_001}, 400, "50,000 characters"),
        ("/v1/embeddings", {"input": ["a", "a" * 50_001]}, 400, "position 1"),
        ("/v1/index/add", {"items": [{"id": "a"}]}, 422, "items.0.text"),
        ("/v1/pairs", {"pairs": [["a"]]}, 422, "pairs"),
        ("/v1/pairs", {"pairs": [["\u4ed8" * 5_000, "\u6b3e"]], "explain": True}, 400, "words"),
        ("/v1/embeddings", {"input": [1] * 500_000}, 422, "input"),
        ("/v1/index/remove", {"ids": ["a"] * 20_001}, 400, "20,000"),
        ("/v1/pairs", {"pairs": [["a", "b"]] * 17, "explain": True}, 400, "16 pairs"),
        ("/v1/similarity", {"first": ["a"] * 400, "second": ["b"] * 400}, 400, "100,000 scores"),
        ("/v1/duplicates", {"texts": ["a"] * 500, "threshold": 0.5}, 400, "100,000 pairs"),
        ("/v1/duplicates", {"texts": ["a"], "threshold": 1e300}, 422, "threshold"),
        ("/v1/index/search", {"texts": ["a"], "k": 0}, 422, "k"),
        ("/v1/none", {}, 404, "Not Found"),
    ],
)
def test_bad_requests_are_told(service, path, body, status, message):
    """In one form, with the field; never as a fault of the service."""
    answer = service.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    error = told(answer, status)["error"]
    assert message in error["message"]
    assert error["code"] == status


def test_misshapen_bodies_are_told(service):
    """No JSON, none at all, too large, of another kind."""
    post = service.client.post
    for content in (b"", b"{", b"\xff\xfe", b"[1e999]", b"nul", b"[" * 100_000):
        answer = post("/v1/embeddings", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}, (content[:9], answer.text)
    large = b" " * (17 * 2**20)
    assert "16 MB" in told(post("/v1/embeddings", content=large), 413)["error"]["message"]
    assert "16 MB" in told(post("/v1/embeddings", content=iter([large[: 2**20]] * 17)), 413)["error"]["message"]
    assert service.client.get("/v1/embeddings").status_code == 405
    assert told(post("/v1/duplicates/file?name=a.csv", content=b"a\n1\n", headers={"content-type": "text/plain"}), 415)


def lines_of(service, content, **asked):
    answer = service.client.post(
        "/v1/duplicates/file", params=asked, content=content, headers={"content-type": "application/octet-stream"}
    )
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_file_is_answered_with_progress(service):
    """A line of JSON for each step; the answer last."""
    lines = lines_of(service, QUESTIONS.read_bytes(), name="questions.csv", threshold="0.8")
    assert {line["stage"] for line in lines[:-1]} == {"encode", "join"}
    answer = lines[-1]["answer"]
    assert len(answer["pairs"]) > 10
    assert answer["column"] == "question"
    assert len(answer["texts"]) == len(answer["ids"])
    for content, name, message in (
        (b"\x00\x01\x02\xff" * 1_000, "binary.csv", ""),
        (b"", "empty.csv", ""),
        (b"a,b\n1,2\n", "two.csv", ""),
        (b"a\nb\n", "file.exe", "can be read here"),
    ):
        error = lines_of(service, content, name=name)[-1]["error"]
        assert error["code"] == 400
        assert message in error["message"]
        assert "file.csv" not in error["message"]  # where it lay here


def test_the_page_loads_nothing_from_elsewhere(service):
    """Its policy forbids it, and it names no other address."""
    answer = service.client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_other_names_and_missing_tokens_are_refused(service, serving, tmp_path):
    """Without a token only this machine's own names; with one, no request without it."""
    assert told(service.client.get("/v1/models", headers={"host": "evil.example"}), 403)
    (tmp_path / "token").write_text("s3cret\n")
    locked = serving("--token-file", tmp_path / "token")
    try:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "s3cret"},
            {"authorization": "Basic s3cret"},
        ):
            assert "Bearer TOKEN" in told(locked.client.get("/v1/models", headers=headers), 401)["error"]["message"]
        assert told(locked.client.get("/v1/models", headers={"authorization": "Bearer s3cret", "host": "any.example"}))
        assert locked.client.get("/metrics").status_code == 401
        assert locked.client.get("/health").status_code == 200
        assert locked.client.get("/").status_code == 200
        assert (
            "index"
            in told(locked.client.get("/v1/index", headers={"authorization": "Bearer s3cret"}), 404)["error"]["message"]
        )
    finally:
        locked.stop()


def test_it_is_not_opened_to_others_by_accident(tmp_path):
    """Another address asks for a token; what cannot be is told in one line."""
    for arguments, message in (
        (("--host", "0.0.0.0"), "Set a token"),  # noqa: S104
        (("no-such-model",), "no-such-model"),
        (("--index", tmp_path), "no index"),
        (("--token-file", tmp_path / "none"), "There is no token file"),
        (("--port", "70000"), "65535"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "textsiam", "serve", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr


def test_short_requests_do_not_wait_for_long_ones(service):
    """A request of many texts is encoded piece by piece; one of few comes between its pieces."""
    body = {"texts": [f"Question number {n} about a thing, and what then?" for n in range(1_200)], "threshold": 0.999}
    answers, done = [], threading.Event()

    def ask():
        answers.append(service.client.post("/v1/duplicates", json=body))
        done.set()

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    took = []
    while not done.is_set() and len(took) < 5:
        started = time.perf_counter()
        told(service.client.post("/v1/embeddings", json={"input": f"A short one, number {len(took)}?"}))
        took.append((time.perf_counter() - started, done.is_set()))
    thread.join()
    assert told(answers[0])["set_aside"] == []
    assert not took[0][1], "the long one was done first"


def test_an_empty_index_matches_nothing(serving, tmp_path, model):
    """It is an index all the same."""
    with Index.create(tmp_path / "empty", model, threshold=0.8):
        pass
    service = serving("--index", tmp_path / "empty")
    try:
        asked = {"texts": ["How do I pay?", "How do I pay?"], "against_index": True}
        answer = told(service.client.post("/v1/duplicates", json=asked))
        assert (answer["pairs"], answer["clusters"], answer["threshold"]) == ([], [], 0.8)
        found = told(service.client.post("/v1/index/search", json={"texts": ["How do I pay?"], "k": 3}))
        assert (found["pairs"], found["threshold"]) == ([], None)
    finally:
        service.stop()


def test_a_busy_index_is_waited_for_no_longer_than_the_deadline(serving, tmp_path, model):
    """However many requests wait for it in turn; each gets 503 and when to come again, and afterwards all is well."""
    with Index.create(tmp_path / "busy", model, threshold=0.8):
        pass
    service = serving("--index", tmp_path / "busy", "--deadline", "1")
    writer = sqlite3.connect(tmp_path / "busy" / "index.sqlite", isolation_level=None)
    try:
        asked = {"items": [{"id": "x1", "text": "What is a wombat?"}]}
        writer.execute("BEGIN IMMEDIATE")
        started = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: service.client.post("/v1/index/add", json=asked), range(6)))
        assert time.perf_counter() - started < 4
        for answer in answers:
            assert "busy" in told(answer, 503)["error"]["message"]
            assert answer.headers["retry-after"] == "5"
        writer.execute("ROLLBACK")
        assert told(service.client.post("/v1/index/add", json=asked))["added"] == 1
    finally:
        writer.close()
        assert service.stop() == 0


def test_pages_of_other_sites_are_refused(service):
    """A browser says where a request comes from; without a token only our own page may ask."""
    for site in ("cross-site", "same-site"):
        answer = service.client.post("/v1/index/remove", json={"ids": ["q1"]}, headers={"sec-fetch-site": site})
        assert "another site" in told(answer, 403)["error"]["message"]
    assert service.client.get("/v1/models", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_a_file_that_swells_is_refused(service):
    """A small parquet file may hold a thousand million rows."""
    table = pa.table({"question": pa.array(["How do I pay?"] * 2_000_000).dictionary_encode()})
    with io.BytesIO() as stream:
        pq.write_table(table, stream)
        content = stream.getvalue()
    assert len(content) < 2**20
    assert "2,000,000 rows" in lines_of(service, content, name="swelling.parquet")[-1]["error"]["message"]


def test_requests_are_encoded_together(service):
    """Many at once make fewer batches than requests, and every answer is its own."""

    def counted():
        lines = service.client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith("textsiam_batch_texts_count")).split()[-1])

    texts = [f"Question number {n} about the wombat?" for n in range(64)]
    alone = [
        told(service.client.post("/v1/embeddings", json={"input": text}))["data"][0]["embedding"] for text in texts
    ]
    before = counted()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda text: told(service.client.post("/v1/embeddings", json={"input": text})), texts))
    assert np.array([one["data"][0]["embedding"] for one in answers]) == pytest.approx(np.array(alone), abs=1e-5)
    assert counted() - before < 48


def test_who_goes_away_while_sending_is_no_fault(service):
    """Stop pressed while a file is on its way: a line of the log, and no error."""
    host, port = service.url.removeprefix("http://").split(":")
    n = len(service.lines)
    for path, kind in (("/v1/duplicates/file", "application/octet-stream"), ("/v1/pairs", "application/json")):
        with socket.create_connection((host, int(port)), timeout=30) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 9000\r\n\r\n"
            client.sendall(head.encode() + b"a" * 100)
            time.sleep(0.2)
        told_of = []
        while path not in told_of:
            time.sleep(0.05)
            told_of = [json.loads(line)["path"] for line in service.lines[n:] if '"path"' in line]
    told_ = [json.loads(line) for line in service.lines[n:]]
    statuses = [
        line["status"] for line in told_ if "status" in line
    ]  # one that an earlier test asked for may come late
    assert len(statuses) >= 2
    assert max(statuses) < 500
    assert [line for line in told_ if line.get("level") == "error"] == []


def test_overload_is_refused_and_passes(serving):
    """More than may be worked on get 429 with Retry-After; afterwards all is well."""
    service = serving("--max-requests", "4")
    try:
        body = {"texts": [f"Question number {n} about things?" for n in range(300)], "threshold": 0.99}
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(lambda _: service.client.post("/v1/duplicates", json=body), range(40)))
        codes = [answer.status_code for answer in answers]
        assert set(codes) == {200, 429}
        assert codes.count(200) >= 4
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
        assert told(service.client.get("/ready")) == {"status": "ready"}
        assert told(service.client.post("/v1/embeddings", json={"input": "And now?"}))
    finally:
        service.stop()


@pytest.mark.parametrize(
    "seconds", [0, pytest.param(float(os.environ.get("TEXTSIAM_SOAK_S", "600")), marks=pytest.mark.soak)]
)
def test_a_stop_under_load_loses_nothing_accepted(serving, seconds):
    """SIGTERM: every request that the service began, and logs, is one that a client got a whole answer to; the exit code is 0.

    A request sent on a kept connection just when that is closed was never read: clients send it again, as HTTP asks of them.
    """
    service = serving()
    answers, failures = [], []
    body = {"input": [f"Question number {n}?" for n in range(60)]}

    def ask():
        with httpx.Client(base_url=service.url, timeout=60) as client:
            while True:
                try:
                    answer = client.post("/v1/embeddings", json=body)
                except httpx.TransportError as error:
                    failures.append(error)
                    return
                answers.append(answer.status_code == 200 and len(answer.json()["data"]) == 60)
                if answer.headers.get("connection") == "close":
                    return

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    while len(answers) < 16 or time.monotonic() < until:
        time.sleep(0.01)
    assert service.stop() == 0
    for thread in threads:
        thread.join()
    assert all(answers)
    logged = [json.loads(line) for line in service.lines if line.startswith("{")]
    begun = [line["status"] for line in logged if line["path"] == "/v1/embeddings"]
    assert begun == [200] * len(answers), failures
    assert "all accepted requests were answered" in "".join(service.lines)
