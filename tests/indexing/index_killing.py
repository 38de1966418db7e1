"""Kills writers of an index at random moments and says what was left; run as a script by `test_index_crash.py`.

    python index_killing.py FOLDER N_KILLS SEED

FOLDER holds an empty index of 32 dimensions. A child adds, updates, removes and compacts, and reports each change before and
after it; it is killed (SIGKILL) after a random time. Then the index must hold what was reported as done, with or without the one
change that was under way, be sound, and answer as one batch over the same vectors does.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter

import numpy as np

from textsiam import Index, threshold_join

DIM, SLOWEST_S = 32, 0.12


def vector(number):
    """Of a text: a few directions, so that there are matches and clusters."""
    random_ = np.random.default_rng(number)
    centre = np.random.default_rng(number % 7).normal(size=DIM)
    return (centre + 0.4 * random_.normal(size=DIM)).astype(np.float32)


def work(index, kept, next_number, random_, tell):
    """Change the index for ever."""
    while True:
        kind = random_.choices(["add", "remove", "compact"], [6, 3, 1])[0]
        if kind == "add":
            numbers = list(range(next_number, next_number + random_.choice([1, 1, 2, 20, 100])))
            next_number += len(numbers)
            tell("start", kind, numbers)
            index.add(numbers, embeddings=np.stack([vector(number) for number in numbers]))
            kept = [*kept, *numbers]
        elif kind == "remove":
            numbers = random_.sample(kept, min(len(kept), random_.choice([1, 5, 200])))
            tell("start", kind, numbers)
            index.remove(numbers)
            kept = [number for number in kept if number not in set(numbers)]
        else:
            numbers = []
            tell("start", kind, numbers)
            index.compact()
        tell("done", kind, numbers)


def killed(folder, kept, next_number, seed):
    """Let a child work, kill it; what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            stream = os.fdopen(writing, "w")

            def tell(*told):
                stream.write(json.dumps(told) + "\n")
                stream.flush()

            work(Index.open(folder), kept, next_number, random.Random(seed), tell)
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(random.Random(-seed).uniform(0.01, SLOWEST_S))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself"
    with os.fdopen(reading) as stream:
        return [json.loads(line) for line in stream.read().splitlines(keepends=True) if line.endswith("\n")]


def changed(kept, kind, numbers):
    """What is kept after a change."""
    if kind == "add":
        return [*kept, *numbers]
    return [number for number in kept if number not in set(numbers)]


def check(folder, possible):
    """What is kept, which must be one of the possible; the index must be sound and answer like a batch."""
    with Index.open(folder) as index:
        clusters = index.clusters()
        kept = [int(name) for name in clusters.ids]
        assert kept in possible, f"{len(kept)} texts, but {[len(other) for other in possible]} were expected"
        told = index.verify(repair=False)
        assert told, str(told)
        if kept:
            rows = np.stack([vector(number) for number in kept])
            expected = threshold_join(rows[::5], rows, threshold=index.threshold)
            found = index.search(embeddings=rows[::5])
            assert found.id_columns()[1] == [str(kept[row]) for row in expected.right]
            assert found.score.tolist() == expected.score.tolist()
            joined = threshold_join(rows, threshold=index.threshold)
            keepers = clusters.keeper == np.arange(len(kept))
            assert not (keepers[joined.left] & keepers[joined.right]).any()
    return kept


def main():
    """Kill so many."""
    folder, n_kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    kept, next_number, told_of = [], 0, Counter()
    for number in range(n_kills):
        under_way = None
        for state, kind, numbers in killed(folder, kept, next_number, seed + number):
            if state == "start":
                under_way = kind, numbers
                next_number = max([next_number, *(n + 1 for n in numbers)])
            else:
                kept, under_way = changed(kept, kind, numbers), None
                told_of["changes"] += 1
        possible = [kept, *([changed(kept, *under_way)] if under_way else [])]
        told_of[f"killed in {under_way[0]}" if under_way else "killed between"] += 1
        before = kept
        kept = check(folder, possible)
        told_of["done though not reported"] += under_way is not None and kept != before
    print(json.dumps({"kills": n_kills, "texts left": len(kept), **told_of}))


if __name__ == "__main__":
    main()
