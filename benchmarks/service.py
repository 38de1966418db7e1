"""The HTTP service under load, beside the same model behind a plain sentence-transformers handler of FastAPI.

Both serve all-MiniLM-L6-v2 on loopback, each in a process of its own, and are asked in turn, five rounds of four seconds, by 1, 8
and 64 clients on kept connections: for the score of one pair of real questions, and for the embeddings of 32. Clients share the
two cores with the servers. Then three minutes of both kinds of request at full rate, with the service's memory every ten seconds.

    python benchmarks/service.py     nine minutes
"""

import asyncio
import itertools
import json
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import psutil
import pyarrow.parquet as pq
from record import SHARED, record

SEED, ROUNDS, SECONDS, CLIENTS, SOAK_S = 0, 5, 4.0, (1, 8, 64), 180

THEIRS = """
import sys, uvicorn
from fastapi import FastAPI
from sentence_transformers import SentenceTransformer, util
model, app = SentenceTransformer(sys.argv[1], device="cpu"), FastAPI()

@app.post("/v1/pairs")
def pairs(asked: dict):
    first, second = zip(*asked["pairs"])
    a, b = model.encode(first, convert_to_tensor=True), model.encode(second, convert_to_tensor=True)
    return {"pairs": [{"score": score} for score in util.pairwise_cos_sim(a, b).tolist()]}

@app.post("/v1/embeddings")
def embeddings(asked: dict):
    vectors = model.encode(asked["input"])
    return {"data": [{"index": place, "embedding": vector.tolist()} for place, vector in enumerate(vectors)]}

uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


class Server:
    """A process that answers at a port."""

    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def memory_mb(self):
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def started():
    from textsiam.encoding.embedded import embedded_model

    ours = [sys.executable, "-m", "textsiam", "serve", "--port", "8765"]
    theirs = [sys.executable, "-c", THEIRS, str(embedded_model()), "8766"]
    return {"textsiam": Server(ours, 8765), "sentence-transformers": Server(theirs, 8766)}


def requests_of(kind, texts):
    """Endless requests, each of texts of its own, as bytes."""
    for start in itertools.cycle(range(0, len(texts) - 64, 32)):
        some = texts[start : start + 32]
        path, body = ("/v1/pairs", {"pairs": [some[:2]]}) if kind == "one pair" else ("/v1/embeddings", {"input": some})
        told = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(told)}\r\n\r\n"
        yield head.encode() + told


async def client(port, asked, until, took, wrong):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        started_at = time.perf_counter()
        writer.write(next(asked))
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        await reader.readexactly(length)
        (took if b" 200 " in head[:16] else wrong).append(time.perf_counter() - started_at)
    writer.close()


async def load(port, kind, texts, n_clients, seconds):
    took, wrong, asked = [], [], requests_of(kind, texts)
    until = time.perf_counter() + seconds
    await asyncio.gather(*(client(port, asked, until, took, wrong) for _ in range(n_clients)))
    return took, wrong


def measured(servers, texts):
    figures = {}
    for kind in ("one pair", "32 embeddings"):
        for n_clients in CLIENTS:
            rounds = {name: [] for name in servers}
            for _ in range(ROUNDS):
                for name, server in servers.items():
                    took, wrong = asyncio.run(load(server.port, kind, texts, n_clients, SECONDS))
                    assert not wrong, (name, kind, n_clients)
                    rounds[name].append(took)
            told = {name: summary(took) for name, took in rounds.items()}
            rates = {name: [len(took) / SECONDS for took in all_] for name, all_ in rounds.items()}
            told["times_peer"] = [
                round(find(a / b for a, b in zip(rates["textsiam"], rates["sentence-transformers"], strict=True)), 2)
                for find in (statistics.median, min, max)
            ]
            figures[f"{kind}, {n_clients} clients"] = told
            print(kind, n_clients, told, flush=True)
    return figures


def summary(rounds):
    together = np.concatenate(rounds) * 1e3
    return {
        "requests_per_s": round(statistics.median(len(took) / SECONDS for took in rounds), 1),
        **{f"p{q}_ms": round(float(np.percentile(together, q)), 2) for q in (50, 95, 99)},
    }


def soaked(server, texts):
    memory, n, n_wrong, until = [], 0, 0, time.perf_counter() + SOAK_S
    while time.perf_counter() < until:
        for kind in ("one pair", "32 embeddings"):
            took, wrong = asyncio.run(load(server.port, kind, texts, 16, 5.0))
            n, n_wrong = n + len(took), n_wrong + len(wrong)
        memory.append(round(server.memory_mb()))
    half = memory[len(memory) // 2 :]
    return {"requests": n, "failed": n_wrong, "memory_mb": memory, "growth_in_second_half_mb": half[-1] - half[0]}


def main() -> None:
    texts = pq.read_table(SHARED / "qqp_questions.parquet")["question"].to_pylist()
    texts = [texts[row] for row in np.random.default_rng(SEED).permutation(len(texts))[:20_000].tolist()]
    servers = started()
    try:
        for server in servers.values():
            ready(server.port)
            asyncio.run(load(server.port, "32 embeddings", texts, 2, 3.0))
        figures = {
            "load": measured(servers, texts),
            "memory_mb": {name: round(one.memory_mb()) for name, one in servers.items()},
        }
        servers["sentence-transformers"].stop()
        figures["soak"] = soaked(servers["textsiam"], texts)
    finally:
        for server in servers.values():
            if server.process.poll() is None:
                server.stop()
    record("service", "requests answered over HTTP, beside sentence-transformers behind FastAPI", figures, SEED)


def ready(port):
    for _ in range(600):
        try:
            asyncio.run(asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 1))
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing answers at port {port}")


if __name__ == "__main__":
    main()
