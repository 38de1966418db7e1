"""``textsiam duplicates``: finds duplicate pairs and clusters among texts."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from textsiam.data.writers import rows_of
from textsiam.interfaces.shell.options import DuplicatesOptions, check_outputs, check_sources, spread
from textsiam.interfaces.shell.ray import duplicates_on_ray
from textsiam.interfaces.shell.terminal import (
    answer_json,
    answering,
    counted,
    following_all,
    mapped,
    model_told,
    say,
    say_lost,
    say_renamed,
    say_set_aside,
    set_aside_told,
    show_clusters,
    show_matches,
    while_reading,
    write_columns,
)

if TYPE_CHECKING:
    from textsiam.data.texts import Texts
    from textsiam.matching.matches import Clusters, Matches
    from textsiam.scoring.siamese import Siamese


@spread
def duplicates(asked: DuplicatesOptions) -> None:
    """Find the duplicates among texts, or between two sets of texts.

    `textsiam duplicates questions.csv` needs no option: it finds the column, encodes each distinct text once, compares all texts
    exactly, and shows the closest pairs and the clusters.

    `textsiam duplicates new.csv --against known.csv -o pairs.csv` compares two sets and writes every pair that it finds.

    `textsiam duplicates 'shards/*.parquet' --ray -o pairs.parquet` works on a Ray cluster. After an interruption or a crash, run
    the same command again: it goes on with what is missing.
    """
    on_ray = asked.on_ray
    on_ray.check(approximate=asked.approximate)
    with answering(on_ray.after_interrupt(asked.output) if on_ray else None):
        if on_ray:
            from textsiam.distributing.shard_sources import expanded

            on_ray.refuse(
                sample=asked.sample,
                against=bool(asked.against),
                repeats_only=asked.repeats_only,
                strict=asked.rows.strict,
            )
            on_ray.refuse(**{"linkage complete": asked.linkage != "keeper"})
            asked = replace(asked, files=expanded(asked.files or []))
        _check(asked)
        if on_ray:
            duplicates_on_ray(asked)
        else:
            _on_this_machine(asked)


def _check(asked: DuplicatesOptions) -> None:
    """Refuse, before the slow work, options that contradict each other and outputs that cannot be written."""
    from textsiam.matching.matches import LINKAGES

    if bool(asked.files) == asked.sample:
        raise typer.BadParameter(
            "Give files or --sample, not both." if asked.files else "Give files, - for standard input, or --sample."
        )
    if asked.against and (asked.clusters or asked.repeats_only):
        raise typer.BadParameter("--clusters and --repeats-only work within one set. Leave out --against.")
    sources = [*(asked.files or []), *([asked.against] if asked.against else [])]
    check_sources(sources)
    check_outputs(asked.output, asked.clusters, asked.rows.set_aside, inputs=sources, as_json=asked.as_json)
    if asked.linkage not in LINKAGES:
        raise ValueError(f"There is no linkage {asked.linkage!r}. Use one of {', '.join(LINKAGES)}.")


def _on_this_machine(asked: DuplicatesOptions) -> None:
    """Read, find, write and report."""
    started = time.perf_counter()
    reading = asked.rows.reading(asked.columns)
    texts = _read(asked.files, reading)
    others = _read([asked.against], reading) if asked.against else None
    _say_reading(texts, others, asked.rows.set_aside)
    siamese = None if asked.repeats_only else asked.model.load()
    matches = _find(siamese, texts, others, asked)
    if asked.output:
        write_columns(asked.output, matches.blocks())
    groups = matches.clusters(asked.linkage) if others is None else None
    if asked.clusters and groups is not None:
        write_columns(asked.clusters, [groups.columns()])
    summary = _summary(siamese, texts, others, matches, asked.threshold)
    summary["clusters"] = None if groups is None else len(groups)
    summary["dropped"] = None if groups is None else groups.n_dropped
    summary["seconds"] = round(time.perf_counter() - started, 2)
    if asked.as_json:
        answer_json(summary, **_tables(None if asked.output else matches, None if asked.clusters else groups))
        return
    if asked.output is None:
        show_matches(matches, asked.top)
    if groups is not None and asked.clusters is None and str(asked.output) != "-":
        show_clusters(groups, asked.top)
    _say_summary(summary, asked.output, asked.clusters)


def _read(files: list[str] | None, reading: dict[str, Any]) -> "Texts":
    from textsiam.data.readers import read_texts
    from textsiam.data.texts import join_texts
    from textsiam.samples import QUESTIONS

    sources = files or [str(QUESTIONS)]
    with while_reading(*sources):
        return join_texts({source: read_texts(source, **reading) for source in sources})


def _find(siamese: "Siamese | None", texts: "Texts", others: "Texts | None", asked: DuplicatesOptions) -> "Matches":
    from textsiam.matching.duplicates import find_duplicates, find_repeats

    if siamese is None:
        return find_repeats(texts, max_matches=asked.max_matches)
    with following_all() as progress:
        return find_duplicates(
            siamese,
            texts,
            against=others,
            threshold=asked.threshold,
            prompt=asked.prompt,
            max_matches=asked.max_matches,
            max_memory_mb=asked.max_memory_mb,
            progress=progress,
        )


def _summary(
    siamese: "Siamese | None", texts: "Texts", others: "Texts | None", matches: "Matches", threshold: float | None
) -> dict[str, Any]:
    from textsiam.data.texts import SetAside, normalise

    aside = texts.set_aside + (SetAside() if others is None else others.set_aside)
    return {
        "read": texts.n_read + (0 if others is None else others.n_read),
        "set_aside": set_aside_told(aside),
        "texts": len(texts),
        "against": None if others is None else len(others),
        "distinct": len(set(texts)),
        "distinct_normalised": len({normalise(text) for text in texts}),
        "truncated": len(matches.cut) + len(matches.right_cut),
        "with_unknown_characters": len(matches.unknown) + len(matches.right_unknown),
        "threshold": _threshold_told(siamese, threshold),
        "pairs": len(matches),
        **told_decisions(matches),
    } | ({} if siamese is None else model_told(siamese))


def told_decisions(matches: "Matches") -> dict[str, int]:
    """How many pairs the model accepted, and left for review; nothing where it did not decide."""
    if matches.by_score or matches.decision is None:
        return {}
    return {name: int((matches.decision == name).sum()) for name in ("accept", "review")}


def _threshold_told(siamese: "Siamese | None", threshold: float | None) -> dict[str, Any]:
    if siamese is None:
        return {"value": None, "told": "not needed: only texts equal after normalisation are pairs"}
    if threshold is not None:
        silent = ": the judge is silent" if siamese.judge else ""
        return {"value": threshold, "told": f"{threshold:g} (given by you{silent})"}
    assert siamese.threshold is not None  # noqa: S101  else find_duplicates has raised
    own = f"{siamese.threshold}; the model's own, --threshold changes it"
    if siamese.judge:
        own = f"{siamese.threshold}, among pairs of a cosine from {siamese.judge.candidates:g} up; --threshold cuts by cosine"
    return siamese.threshold.to_json() | {"told": own}


def _tables(matches: "Matches | None", groups: "Clusters | None") -> dict[str, Any]:
    tables: dict[str, Any] = {}
    if matches is not None:
        tables["pairs"] = list(rows_of(matches.columns()))
    if groups is not None:
        ids = groups.columns()["id"]
        tables["clusters"] = [
            {"keeper": ids[rows[0]], "members": [ids[row] for row in rows], "weakest": round(groups.weakest(rows), 6)}
            for rows in groups.groups()
        ]
    return tables


def _say_reading(texts: "Texts", others: "Texts | None", set_aside: Path | None) -> None:
    from textsiam.data.texts import SetAside

    say(f"columns: {mapped(texts.mapping)}")
    if others is not None:
        say(f"columns of the others: {mapped(others.mapping)}")
    both = [texts] if others is None else [texts, others]
    say_renamed([fault for of in both for fault in of.renamed])
    say_set_aside(sum((of.set_aside for of in both), SetAside()), set_aside)


def _say_summary(summary: dict[str, Any], output: Path | None, clusters: Path | None) -> None:
    repeats = summary["texts"] - summary["distinct"]
    more = summary["distinct"] - summary["distinct_normalised"]
    say(
        f"read {summary['read']:,} rows, {summary['set_aside']['rows']:,} set aside; {repeats:,} repeat an earlier text "
        f"exactly, {more:,} more after normalisation"
    )
    say_lost(summary["truncated"], summary["with_unknown_characters"])
    say(f"threshold {summary['threshold']['told']}")
    found = f"found {summary['pairs']:,} pairs" + (f" → {output}" if output else "")
    if "accept" in summary:
        found += f": {counted(summary['accept'], 'duplicate', 'duplicates')}, {summary['review']:,} for review"
    if summary["clusters"] is not None:
        found += f", {summary['clusters']:,} clusters, {summary['dropped']:,} rows that match their keeper"
        found += f" → {clusters}" if clusters else ""
    say(f"{found}, in {summary['seconds']:.1f} s")
