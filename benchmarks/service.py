"""The HTTP service under load, beside the same model behind a plain sentence-transformers handler of FastAPI.

Both serve all-MiniLM-L6-v2 on loopback, each in a process of its own, and are asked in turn, five rounds of four seconds, by 1, 8
and 64 clients on kept connections: for the score of one pair of real questions, and for the embeddings of 32. Clients share the
two cores with the servers. Then three minutes of both kinds of request at full rate, with the service's memory every ten seconds.
Last, twenty seconds of ten times what it can answer, sent at that pace whatever comes back, by a process of its own.

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
    from textsiam.encoding.model_folder.finding import embedded_model

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


async def offered(port, texts, a_second, seconds):
    """Requests at a pace of their own, each on a connection of its own, and what each came to: a status, or no answer."""
    asked, began, running, told = requests_of("32 embeddings", texts), time.perf_counter(), set(), []

    async def one(body):
        started_at = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(body)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            writer.close()
            told.append((int(head.split()[1]), b"retry-after" in head.lower(), time.perf_counter() - started_at))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            told.append((0, False, time.perf_counter() - started_at))

    for number in range(round(a_second * seconds)):
        await asyncio.sleep(max(0.0, began + number / a_second - time.perf_counter()))
        running.add(task := asyncio.create_task(one(next(asked))))
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return told


def overloaded(server, texts, capacity):
    """Ten times the capacity for twenty seconds, and how the service answers five seconds later."""
    command = [sys.executable, __file__, "--offer", str(server.port), str(10 * capacity)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    statuses = [status for status, _, _ in told]
    answered = np.array([seconds for status, _, seconds in told if status == 200]) * 1e3
    refused = np.array([seconds for status, _, seconds in told if status == 429]) * 1e3
    time.sleep(5)
    after, wrong = asyncio.run(load(server.port, "32 embeddings", texts, 8, SECONDS))
    return {
        "offered_per_s": round(10 * capacity),
        "statuses": {str(status): statuses.count(status) for status in sorted(set(statuses))},
        "refusals_with_retry_after": sum(retry for status, retry, _ in told if status == 429),
        "answered_p50_p99_ms": [round(float(np.percentile(answered, q))) for q in (50, 99)],
        "refused_p50_p99_ms": [round(float(np.percentile(refused, q))) for q in (50, 99)] if len(refused) else None,
        "five_seconds_later": {**summary([after]), "failed": len(wrong)},
    }


def questions():
    texts = pq.read_table(SHARED / "qqp_questions.parquet")["question"].to_pylist()
    return [texts[row] for row in np.random.default_rng(SEED).permutation(len(texts))[:20_000].tolist()]


def main() -> None:
    if sys.argv[1:2] == ["--offer"]:
        print(json.dumps(asyncio.run(offered(int(sys.argv[2]), questions(), float(sys.argv[3]), 20.0))))
        return
    texts = questions()
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
        capacity = figures["load"]["32 embeddings, 64 clients"]["textsiam"]["requests_per_s"]
        figures["overload"] = overloaded(servers["textsiam"], texts, capacity)
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
