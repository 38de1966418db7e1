"""``textsiam duplicates``: texts in, duplicate pairs and clusters out."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.data.writers import rows_of
from textsiam.interfaces import options
from textsiam.interfaces.distributed import Asked, OnCluster, duplicates_on_ray
from textsiam.interfaces.tables import check_outputs, write_columns
from textsiam.interfaces.terminal import (
    answer_json,
    answering,
    check_linkage,
    check_sources,
    following,
    load_model,
    mapped,
    model_told,
    say,
    say_lost,
    say_renamed,
    say_set_aside,
    set_aside_told,
    show_clusters,
    show_pairs,
)

if TYPE_CHECKING:
    from textsiam.data.texts import Texts
    from textsiam.matching.clustering import Clusters
    from textsiam.matching.matches import Matches
    from textsiam.scoring.siamese import Siamese


def duplicates(
    files: options.Files = None,
    column: options.Column = None,
    id_column: options.IdColumn = None,
    split: options.SplitName = None,
    against: Annotated[str | None, typer.Option(help="Compare with this file's texts, not among themselves.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            callback=options.finite, help="Lowest score of a pair. Default: the model's own accept threshold."
        ),
    ] = None,
    output: options.Output = None,
    clusters: Annotated[
        Path | None, typer.Option(help="Write every row's cluster, its keeper and the score to it to this file.")
    ] = None,
    linkage: Annotated[
        str, typer.Option(help="keeper: every row matches its keeper; complete: every two rows of a cluster match.")
    ] = "keeper",
    repeats_only: Annotated[
        bool, typer.Option("--repeats-only", help="Only texts equal after normalisation; needs no model.")
    ] = False,
    sample: Annotated[
        bool, typer.Option("--sample", help="Use the hand-written sample questions that come with textsiam.")
    ] = False,
    top: options.Top = 20,
    max_matches: Annotated[
        int, typer.Option(min=1, help="Most pairs to find; more is an error, never a silent cut.")
    ] = 20_000_000,
    max_memory_mb: Annotated[int, typer.Option(min=1, help="Working memory of the comparison.")] = 256,
    prompt: options.Prompt = None,
    set_aside: options.SetAsideFile = None,
    strict: options.Strict = False,
    format: options.Format = None,  # noqa: A002  the option is --format
    delimiter: options.Delimiter = None,
    encoding: options.Encoding = "utf-8",
    model: options.Model = None,
    backend: options.BackendName = "auto",
    device: options.Device = None,
    dtype: options.Dtype = None,
    ray: options.Ray = False,
    ray_address: options.RayAddress = None,
    work: options.Work = None,
    approximate: options.Approximate = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the duplicates among texts, or between two sets.

    `textsiam duplicates questions.csv` needs no option: it finds the column, encodes each distinct text once, compares
    all with all exactly, and shows the closest pairs and the clusters.

    `textsiam duplicates new.csv --against known.csv -o pairs.csv` compares two sets and writes every pair found.

    `textsiam duplicates 'shards/*.parquet' --ray -o pairs.parquet` does the same past one machine: in tasks, each finished once;
    after an interruption or a crash the same command goes on.
    """
    cluster = OnCluster.of(ray=ray, address=ray_address, work=work, dry_run=dry_run, approximate=approximate)
    with answering(cluster.after_interrupt(output) if cluster else None):
        started = time.perf_counter()
        if cluster:
            cluster.refuse(sample=sample, against=bool(against), repeats_only=repeats_only, strict=strict)
            cluster.refuse(**{"linkage complete": linkage != "keeper"})
            files = cluster.sources(files)
        _check_usage(files, sample=sample, within_one_set=bool(clusters) or repeats_only, against=against)
        sources = [*(files or []), *([against] if against else [])]
        check_outputs(output, clusters, set_aside, inputs=sources, as_json=as_json)
        check_linkage(linkage)
        reading = dict(column=column, id_column=id_column, split=split, strict=strict)
        reading |= dict(format=format, delimiter=delimiter, encoding=encoding)
        if cluster:
            loaded = load_model(model, backend, device, dtype)
            asked = Asked.of(files or [], reading, loaded, model, backend=backend, device=device, prompt=prompt)
            duplicates_on_ray(
                cluster,
                asked,
                threshold=threshold,
                max_matches=max_matches,
                max_memory_mb=max_memory_mb,
                output=output,
                clusters=clusters,
                set_aside=set_aside,
                top=top,
                as_json=as_json,
            )
            return
        texts = _read(files, reading)
        others = _read([against], reading) if against else None
        _say_reading(texts, others, set_aside)
        siamese = None if repeats_only else load_model(model, backend, device, dtype)
        limits: dict[str, Any] = dict(max_matches=max_matches, max_memory_mb=max_memory_mb, prompt=prompt)
        matches = _find(siamese, texts, others, threshold, limits)
        if output:
            write_columns(output, matches.blocks())
        groups = matches.clusters(linkage) if others is None else None
        if clusters and groups is not None:
            write_columns(clusters, [groups.columns()])
        summary = _summary(siamese, texts, others, matches, threshold)
        summary["clusters"] = None if groups is None else len(groups)
        summary["dropped"] = None if groups is None else groups.n_dropped
        summary["seconds"] = round(time.perf_counter() - started, 2)
        if as_json:
            answer_json(summary, **_tables(None if output else matches, None if clusters else groups))
            return
        if output is None:
            show_pairs(matches.top(top), len(matches))
        if groups is not None and clusters is None and str(output) != "-":
            show_clusters(groups, top)
        _say_summary(summary, output, clusters)


def _check_usage(files: list[str] | None, *, sample: bool, within_one_set: bool, against: str | None) -> None:
    if bool(files) == sample:
        raise typer.BadParameter(
            "Give files or --sample, not both." if files else "Give files, - for standard input, or --sample."
        )
    if against and within_one_set:
        raise typer.BadParameter("--clusters and --repeats-only work within one set: leave out --against.")
    check_sources([*(files or []), *([against] if against else [])])


def _read(files: list[str] | None, reading: dict[str, Any]) -> "Texts":
    from textsiam.data.readers import read_texts
    from textsiam.data.texts import join_texts
    from textsiam.samples import QUESTIONS

    return join_texts({source: read_texts(source, **reading) for source in files or [str(QUESTIONS)]})


def _find(
    siamese: "Siamese | None",
    texts: "Texts",
    others: "Texts | None",
    threshold: float | None,
    limits: dict[str, Any],
) -> "Matches":
    from textsiam.matching.duplicates import find_duplicates, find_repeats

    if siamese is None:
        return find_repeats(texts, max_matches=limits["max_matches"])
    with following() as progress:
        return find_duplicates(siamese, texts, against=others, threshold=threshold, progress=progress, **limits)


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
    } | ({} if siamese is None else model_told(siamese))


def _threshold_told(siamese: "Siamese | None", threshold: float | None) -> dict[str, Any]:
    if siamese is None:
        return {"value": None, "told": "not needed: only texts equal after normalisation were paired"}
    if threshold is not None:
        return {"value": threshold, "told": f"{threshold:g} (given by you)"}
    assert siamese.threshold is not None  # noqa: S101  find_duplicates has refused by now
    return siamese.threshold.to_json() | {"told": f"{siamese.threshold}; the model's own, --threshold changes it"}


def _tables(matches: "Matches | None", groups: "Clusters | None") -> dict[str, Any]:
    tables: dict[str, Any] = {}
    if matches is not None:
        tables["pairs"] = list(rows_of(matches.columns()))
    if groups is not None:
        names = groups.columns()["id"]
        tables["clusters"] = [
            {
                "keeper": names[rows[0]],
                "members": [names[row] for row in rows],
                "weakest": round(groups.weakest(rows), 6),
            }
            for rows in groups.groups()
        ]
    return tables


def _say_reading(texts: "Texts", others: "Texts | None", set_aside: Path | None) -> None:
    from textsiam.data.texts import SetAside

    say(f"columns: {mapped(texts.mapping)}")
    if others is not None:
        say(f"columns of the others: {mapped(others.mapping)}")
    say_renamed([*texts.renamed, *(() if others is None else others.renamed)])
    say_set_aside(texts.set_aside + (SetAside() if others is None else others.set_aside), set_aside)


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
    if summary["clusters"] is not None:
        found += f", {summary['clusters']:,} clusters, {summary['dropped']:,} rows that match their keeper"
        found += f" → {clusters}" if clusters else ""
    say(f"{found}, in {summary['seconds']:.1f} s")
