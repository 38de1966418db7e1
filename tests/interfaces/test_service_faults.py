"""Faults of the service and faults of requests, each told as what it is, and the log knows of the first."""

import json
import logging
import threading

import pytest
from fastapi.testclient import TestClient

from textsiam import Index
from textsiam.errors import UnreadableInput
from textsiam.interfaces.service.answers import Answers
from textsiam.interfaces.service.app import create_app
from textsiam.interfaces.service.limits import Limits

WORD = "wombat"


@pytest.fixture
def client(model, tmp_path):
    """Asks a service in this process, with an index of one text."""
    with Index.create(tmp_path / "faq", model, threshold=0.8) as index:
        index.add(["q1"], ["How do I pay?"])
    app = create_app(model, lambda it: Index.open(tmp_path / "faq", it), limits=Limits(deadline_s=0.3), hosts=None)
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


def last_line(client, content=b"question\nHow do I pay?\nHow can I pay?\n", **asked):
    headers = {"content-type": "application/octet-stream"}
    answer = client.post("/v1/duplicates/file", params=asked, content=content, headers=headers)
    return json.loads(answer.text.splitlines()[-1])


@pytest.mark.parametrize("error", [ValueError(WORD), OSError(28, WORD), RuntimeError(WORD)], ids=repr)
def test_a_fault_of_the_service_is_logged_and_is_none_of_the_request(client, monkeypatch, caplog, error):
    """Whatever its type: 500, without what it says; of a request and of a file alike."""
    asked = {"texts": ["How do I pay?"], "threshold": 0.8}
    monkeypatch.setattr(Answers, "duplicates", failing(error))
    with caplog.at_level(logging.ERROR, "textsiam.service"):
        answer = client.post("/v1/duplicates", json=asked)
        told = last_line(client, threshold="0.8")
    assert (answer.status_code, told["error"]["code"]) == (500, 500)
    assert WORD not in answer.text + json.dumps(told)
    assert [record.message for record in caplog.records if record.name == "textsiam.service"] == [
        "a request was not answered",
        "a file was not answered",
    ]


def test_a_fault_of_a_request_stays_one(client, monkeypatch):
    """A threshold that can be none, a file that cannot be read, and what the package refuses on purpose."""
    for path, asked in (
        ("/v1/duplicates", {"texts": ["How do I pay?"]}),
        ("/v1/duplicates", {"texts": ["How do I pay?"], "against_index": True}),
        ("/v1/index/search", {"texts": ["How do I pay?"]}),
        ("/v1/index/search", {"texts": ["How do I pay?"], "k": 2}),
    ):
        answer = client.post(path, json={**asked, "threshold": 1.5})
        assert answer.status_code == 400, answer.text
        assert "between -1 and 1" in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == "threshold"
    for threshold in ("high", "1.5", "nan", "1e300"):
        assert last_line(client, threshold=threshold)["error"]["code"] == 400
    for content, name in ((b"PAR1" + bytes(90), "a.parquet"), (b"{", "a.jsonl"), (b"\xff\xfe\x00", "a.txt")):
        assert last_line(client, content, name=name)["error"]["code"] == 400
    items = [{"id": "\ud800", "text": "How do I pay?"}, {"id": "a\0", "text": "\ud800"}]
    told = {"content-type": "application/json"}
    answer = client.post("/v1/index/add", content=json.dumps({"items": items}), headers=told)
    assert answer.status_code == 200, answer.text
    assert answer.json()["added"] == 0
    answer = client.post("/v1/index/remove", content=json.dumps({"ids": ["\ud800", "\0"]}), headers=told)
    assert answer.json()["removed"] == 0
    monkeypatch.setattr(Answers, "duplicates", failing(UnreadableInput("Give another.")))
    assert client.post("/v1/duplicates", json={"texts": ["How do I pay?"]}).status_code == 400
    assert last_line(client)["error"] == {**last_line(client)["error"], "code": 400, "message": "Give another."}


def test_the_turn_to_join_is_waited_for_no_longer_than_the_deadline(client, monkeypatch):
    """As all else is: 503, and when to come again; afterwards all is well."""
    asked = {"texts": ["How do I pay?", "How can I pay?"], "threshold": 0.5}
    may_end, at_work = threading.Event(), threading.Semaphore(0)

    def joining(*_, **__):
        at_work.release()
        assert may_end.wait(30)
        raise UnreadableInput("Give another.")

    with monkeypatch.context() as patched:
        patched.setattr("textsiam.interfaces.service.answers.find_duplicates", joining)
        threads = [
            threading.Thread(target=client.post, args=("/v1/duplicates",), kwargs={"json": asked}) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
            assert at_work.acquire(timeout=30)
        answer = client.post("/v1/duplicates", json=asked)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), answer.text
        assert last_line(client)["error"]["code"] == 503
        may_end.set()
        for thread in threads:
            thread.join(30)
    assert len(client.post("/v1/duplicates", json=asked).json()["pairs"]) == 1
