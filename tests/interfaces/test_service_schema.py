"""Whatever the schema allows, and what it does not, is answered as the schema says; never by a fault of the service."""

import os
import random
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from textsiam import Index


@pytest.fixture(scope="module")
def service(tmp_path_factory, serving, model):
    folder = tmp_path_factory.mktemp("schema") / "faq"
    with Index.create(folder, model, threshold=0.8) as index:
        index.add(["q1", "q2"], ["How do I pay?", "Where is my parcel?"])
    service = serving("--index", folder)
    yield service
    service.stop()


@pytest.mark.parametrize("n_examples", [4, pytest.param(10, marks=pytest.mark.long)])
def test_every_route_keeps_to_the_schema(service, tmp_path, n_examples):
    """Statuses, content types and bodies are those that OpenAPI tells; bad data is refused, good data is not."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json", "--seed", "0"]
    command += ["--max-examples", str(n_examples), "--phases", "examples,coverage,fuzzing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]


@pytest.mark.parametrize(
    "n_bodies",
    [
        300,
        pytest.param(1_000, marks=pytest.mark.long),
        pytest.param(int(os.environ.get("TEXTSIAM_BODIES", "20_000")), marks=pytest.mark.soak),
    ],
)
def test_bodies_turned_and_cut_never_make_a_fault(service, n_bodies):
    """Valid bodies, each with bytes changed, taken out or doubled: any answer but a 5xx."""
    rng = random.Random(0)
    bodies = [
        ("/v1/embeddings", b'{"input": ["How do I pay?", "Where?"], "encoding_format": "base64"}'),
        ("/v1/pairs", b'{"pairs": [["How do I pay?", "How can I pay?"]], "explain": true}'),
        ("/v1/similarity", b'{"first": ["a", "b"], "second": ["c"]}'),
        ("/v1/duplicates", b'{"texts": ["How do I pay?", "How can I pay?"], "threshold": 0.5}'),
        ("/v1/index/search", b'{"texts": ["How do I pay?"], "k": 3}'),
        ("/v1/index/add", b'{"items": [{"id": "f1", "text": "How do I fuzz?"}]}'),
        ("/v1/index/remove", b'{"ids": ["f1"]}'),
        ("/v1/duplicates/file?name=a.csv", b"id,question\n1,How do I pay?\n2,How can I pay?\n"),
    ]
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for _ in range(n_bodies):
            path, body = rng.choice(bodies)
            kind = "application/octet-stream" if "file" in path else "application/json"
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(len(body))
                body = rng.choice(
                    [
                        body[:place] + bytes([rng.randrange(256)]) + body[place + 1 :],
                        body[:place] + body[place + 1 :],
                        body[:place] + body[place : place + 9] * 2 + body[place:],
                    ]
                )
            answer = client.post(path, content=body, headers={"content-type": kind})
            assert answer.status_code < 500, (path, body, answer.text)
        assert client.get("/ready").status_code == 200
