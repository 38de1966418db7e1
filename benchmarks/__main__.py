"""All measurements of speed, and of pipelines beside TF-IDF, in one run: every script in turn, one table with
ratios and shares of the limit, and the pictures.

    python -m benchmarks              # or: make bench; three hours on two cores
    python -m benchmarks encode cold  # some of them
    python -m benchmarks --table      # the table and the pictures from the results that are there

Systems take turns within each script, so ratios hold whatever the machine does meanwhile; nothing else should run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

SCRIPTS = (
    "encode",
    "latency",
    "cold",
    "join",
    "train_speed",
    "road",
    "index",
    "nearest",
    "service",
    "pipelines",
    "distributed",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("scripts", nargs="*", metavar="script", help=f"from {', '.join(SCRIPTS)}; default: all")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    if wrong := set(asked.scripts) - set(SCRIPTS):
        parser.error(f"no script {', '.join(sorted(wrong))}; use {', '.join(SCRIPTS)}")
    for name in () if asked.table else asked.scripts or SCRIPTS:
        print(f"== {name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, HERE / f"{name}.py"], check=True)
    from pictures import draw

    print(table())
    for file in draw():
        print(f"wrote {file.relative_to(HERE.parent)}", file=sys.stderr)


def table() -> str:
    """What was asked, what was reached, from the results that are there."""
    head = ("claim", "must", "aim", "measured", "commit")
    parts = (
        _encode, _join, _train, _cold, _latency, _index, _nearest, _service, _pipelines, _distributed, _gpu,
    )  # fmt: skip
    rows = [head, *(row for part in parts for row in part())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def result(name: str) -> tuple[dict, str] | None:
    file = HERE / "results" / f"{name}.json"
    if not file.is_file():
        return None
    told = json.loads(file.read_text())
    return told["figures"], told["commit"]


def _encode() -> list[tuple[str, ...]]:
    if (found := result("encode")) is None:
        return []
    systems, commit = found[0]["systems"], found[1]
    rows = []
    for name, must, aim in (
        ("textsiam fp32", "3 x, 1e-5", "3.6 x"),
        ("textsiam bf16", "4.7 x, 1.8 x bf16", "6.6 x"),
        ("textsiam int8", "7 x, 99.9 % alike", "11 x"),
        ("textsiam PyTorch fp32", "", ""),
        ("textsiam PyTorch bf16", "", ""),
        ("onnxruntime fp32", "", ""),
        ("onnxruntime int8", "", ""),
        ("OpenVINO fp32", "", ""),
        ("OpenVINO bf16", "", ""),
        ("sentence-transformers bf16", "", ""),
        ("sentence-transformers fp32", "", ""),
    ):
        of = systems[name]
        told = (
            f"{of['times_peer'][0]} x [{of['times_peer'][1]}, {of['times_peer'][2]}], {of['times_peer_bf16'][0]} x bf16; "
            f"{of['share_of_limit']:.0%} of the limit; off by {of['largest_difference']:.0e}; Spearman "
            f"{of['stsb_dev_spearman']}, AP {of['qqp_dev_average_precision']}, decides {of['decisions_agree']:.2%} alike"
        )
        rows.append((f"encode, {name}", must, aim, told, commit))
    for name, of in found[0]["deciding"].items():
        told = (
            f"{of['times_peer'][0]} x [{of['times_peer'][1]}, {of['times_peer'][2]}], {of['times_peer_bf16'][0]} x bf16; "
            f"decides {of['decisions_agree']:.2%} alike"
        )
        rows.append((f"score pairs, {name}", "", "", told, commit))
    return rows


def _join() -> list[tuple[str, ...]]:
    if (found := result("join")) is None:
        return []
    figures, commit = found
    return [
        (f"join, {name}", *(str(told[key]) for key in ("must", "aim", "told")), commit)
        for name, told in figures["table"].items()
    ]


def _train() -> list[tuple[str, ...]]:
    if (found := result("train_speed")) is None:
        return []
    ours, peer, bf16 = (found[0][name] for name in ("ours", "peer", "peer_bf16"))
    told = (
        f"{ours['times_peer']} x, {ours['times_peer_bf16']} x bf16; peak {ours['peak_mb']} MB, "
        f"{ours['peak_mb'] / peer['peak_mb']:.2f} of fp32's, {ours['peak_mb'] / bf16['peak_mb']:.2f} of bf16's"
    )
    return [("train", "4 x, 1.75 x bf16, half its memory", "6 x", told, found[1])]


def _cold() -> list[tuple[str, ...]]:
    if (found := result("cold")) is None:
        return []
    rows = []
    for name in (
        "textsiam score",
        "textsiam score, empty cache",
        "textsiam duplicates, 330 questions",
        "textsiam score, PyTorch",
    ):
        of = found[0][name]
        told = f"{of['seconds']} s, 1/{of['peer_times']} of the peer's; peak {of['peak_mb']} MB"
        rows.append(
            (
                f"cold, {name}",
                "1/10" if name == "textsiam score" else "",
                "1/20" if name == "textsiam score" else "",
                told,
                found[1],
            )
        )
    return rows


def _latency() -> list[tuple[str, ...]]:
    if (found := result("latency")) is None:
        return []
    rows = []
    for name, of in found[0].items():
        if isinstance(of, dict):
            must, aim = ("1/4", "1/10") if name == "Siamese.score" else ("", "")
            told = f"p50 {of['p50_ms']} ms, p99 {of['p99_ms']} ms; 1/{1 / of['share_of_peer']:.1f} of the peer's p50"
            rows.append((f"one pair, {name}", must, aim, told, found[1]))
    return rows


def _index() -> list[tuple[str, ...]]:
    if (found := result("index")) is None:
        return []
    rows = []
    for name, sizes in found[0]["systems"].items():
        for n, of in sizes.items():
            musts = []
            told = [f"{of['add_per_s']:,} added a second"]
            if "open_s" in of:
                told.append(f"opened in {of['open_s']} s")
                musts = ["open < 1 s", "text p99 < 20 ms"]
            for kind in ("at 0.9454", "at 0.8", "with_text"):
                if kind in of:
                    recall = f", recall {of[kind]['recall']}" if "recall" in of[kind] else ""
                    told.append(f"{kind}: p50 {of[kind]['p50_ms']} ms, p99 {of[kind]['p99_ms']} ms{recall}")
            told.append(f"{of['anonymous_mb']} MB")
            rows.append((f"index, {name}, {int(n):,}", ", ".join(musts), "", "; ".join(told), found[1]))
    return rows


def _nearest() -> list[tuple[str, ...]]:
    if (found := result("nearest")) is None:
        return []
    rows = []
    for n, systems in found[0]["systems"].items():
        for name, of in systems.items():
            told = [
                f"at {threshold}: p50 {one['p50_ms']} ms, p99 {one['p99_ms']} ms, recall {min(one['rows'], one['edges'])}"
                for threshold, one in of["at"].items()
            ]
            told.append(f"{of['bytes_per_row']} bytes a row")
            rows.append((f"radius, {name}, {int(n):,}", "", "", "; ".join(told), found[1]))
    return rows


def _service() -> list[tuple[str, ...]]:
    if (found := result("service")) is None:
        return []
    figures, commit = found
    rows = []
    for name, of in figures["load"].items():
        ours, (times, low, high) = of["textsiam"], of["times_peer"]
        told = f"{times} x [{low}, {high}], {ours['requests_per_s']} requests/s; p50 {ours['p50_ms']} ms, p99 {ours['p99_ms']} ms"
        rows.append((f"service, {name}", "", "", told, commit))
    memory, soak = figures["memory_mb"], figures["soak"]
    told = (
        f"{soak['requests']:,} requests, {soak['failed']} failed, {soak['growth_in_second_half_mb']} MB more in the second half; "
        f"{memory['textsiam']} MB beside the peer's {memory['sentence-transformers']}"
    )
    return [*rows, ("service, three minutes at full rate", "", "", told, commit)]


def _pipelines() -> list[tuple[str, ...]]:
    if (found := result("pipelines")) is None:
        return []
    rows = []
    for data, of in found[0].items():
        if isinstance(of, dict):
            for name, one in of["pipelines"].items():
                quality = f"AP {one['average_precision']}, accuracy {one['accuracy']}, Brier {one['brier_score']}"
                told = f"{quality}; {one['seconds']} s"
                rows.append((f"pipeline, {data}, {name}", "", "", told, found[1]))
    return rows


def _distributed() -> list[tuple[str, ...]]:
    if (found := result("distributed")) is None:
        return []
    figures, commit = found
    rows = []
    for n, of in figures["two_workers"].items():
        join = of["stages"]["join"]["seconds"]
        told = f"{of['seconds']} s, of which join {join} s; {of['pairs']:,} pairs, {of['peak_mb']} MB"
        rows.append((f"two workers, {int(n):,}", "", "", told, commit))
    beside = figures["overhead"]["ray_over_plain"]
    return [
        *rows,
        (f"two workers over the plain command, {figures['overhead']['n']:,}", "", "", f"{beside[0]} x", commit),
    ]


def _gpu() -> list[tuple[str, ...]]:
    if (found := result("gpu")) is None:
        return []
    figures, commit = found
    rows = []
    for kind, must in (("questions", "2 x"), ("texts_of_256_tokens", "")):
        ours = figures[kind]["systems"]["textsiam bf16 on GPU"]
        times, low, high = ours["times_peer"]
        told = (
            f"{times} x [{low}, {high}], {ours['texts_per_second']:,} texts/s, {ours['share_of_peak']:.0%} of the peak"
        )
        rows.append((f"{figures['gpu']}, bf16, {kind.replace('_', ' ')}", must, "", told, commit))
    return rows


if __name__ == "__main__":
    main()
