"""One writer and some readers of an index for a while; run as a script by `test_index_crash.py`.

    python index_soak.py FOLDER SECONDS

Every change adds, or removes, two equal vectors at once: a reader that ever sees one of them alone saw something half-written.
"""

import json
import multiprocessing
import random
import sys
import time

import numpy as np

from textsiam import Index

DIM, N_VECTORS, N_READERS = 32, 50, 2
VECTORS = np.random.default_rng(0).normal(size=(N_VECTORS, DIM)).astype(np.float32)


def write(folder, until, told):
    """Add and remove pairs, and compact now and then."""
    index, random_, n, there = Index.open(folder), random.Random(0), 0, []
    while time.monotonic() < until:
        what = random_.random()
        if what < 0.6 or not there:
            place = random_.randrange(N_VECTORS)
            index.add([f"{n}-a-{place}", f"{n}-b-{place}"], embeddings=VECTORS[[place, place]])
            there.append((n, place))
        elif what < 0.97:
            number, place = there.pop(random_.randrange(len(there)))
            assert index.remove([f"{number}-a-{place}", f"{number}-b-{place}"]) == 2
        else:
            index.compact()
        n += 1
    told.put(("changes", n))


def read(folder, until, told):
    """Search, and look for what must not be."""
    index, n = Index.open(folder), 0
    while time.monotonic() < until:
        found = index.search(embeddings=VECTORS)
        names = found.id_columns()[1]
        seen = {}
        for query, name in zip(found.left.tolist(), names, strict=True):
            number, side, place = name.split("-")
            assert int(place) == query, "a row was served under another's name"
            seen.setdefault(number, set()).add(side)
        assert all(sides == {"a", "b"} for sides in seen.values()), "a change was seen half"
        clusters = index.clusters()
        assert len(clusters.ids) % 2 == 0
        n += 1
    told.put(("reads", n))


def main():
    """All of them at once."""
    folder, seconds = sys.argv[1], float(sys.argv[2])
    context = multiprocessing.get_context("fork")
    told, until = context.Queue(), time.monotonic() + seconds
    tasks = [context.Process(target=write, args=(folder, until, told))]
    tasks += [context.Process(target=read, args=(folder, until, told)) for _ in range(N_READERS)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert all(task.exitcode == 0 for task in tasks), [task.exitcode for task in tasks]
    counts = {"changes": 0, "reads": 0}
    for _ in tasks:
        kind, n = told.get()
        counts[kind] += n
    with Index.open(folder) as index:
        assert index.verify(repair=False)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
