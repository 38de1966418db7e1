"""One of several writers of an index in PostgreSQL; run as a script by `test_postgres_store.py`.

    python postgres_writer.py ADDRESS SEED N

Adds N texts, named by their numbers, in an order and in portions of its own, while others add the same ones. Says "ready" when it
begins, and at last the pairs that it was told and how often it connected.
"""

import json
import random
import sys

import numpy as np
import psycopg

from textsiam import Index

DIM = 32


def vectors(n):
    """A few directions and rows about them, so that there are matches and clusters."""
    random_ = np.random.default_rng(0)
    centres = random_.normal(size=(n // 12, DIM))
    return (centres[np.arange(n) % len(centres)] + 0.4 * random_.normal(size=(n, DIM))).astype(np.float32)


def main():
    """Add them all."""
    address, seed, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    random_, rows, told, n_connections = random.Random(seed), vectors(n), [], 0
    connect = psycopg.connect

    def counted(*given, **more):
        nonlocal n_connections
        n_connections += 1
        return connect(*given, **more)

    psycopg.connect = counted
    with Index.open(address) as index:
        numbers = random_.sample(range(n), n)
        print("ready", flush=True)
        while numbers:
            size = random_.randint(1, 8)
            some, numbers = numbers[:size], numbers[size:]
            found = index.add(some, embeddings=rows[some])
            told += zip(*found.id_columns(), strict=True)
    print(json.dumps({"pairs": told, "connections": n_connections}))


if __name__ == "__main__":
    main()
