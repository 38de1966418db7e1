"""``textsiam index info|clusters|export|compact|verify|rebuild``: inspect and maintain an index."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.index_options import Place, Timeout
from textsiam.interfaces.shell.options import ComputeOptions, ModelOptions, check_outputs, spread
from textsiam.interfaces.shell.terminal import NO, answer_json, answering, following, say, show_clusters, write_columns


def info(place: Place, as_json: options.AsJson = False) -> None:
    """Show what an index holds and how it was created.

    `textsiam index info faq.index`
    """
    from textsiam.indexing.index import Index

    with answering(), Index.open(place) as opened:
        told = {name: value for name, value in opened.settings.items() if name not in {"canaries", "files", "schema"}}
        told = opened.counts() | told
        if as_json:
            answer_json(told)
            return
        for name, value in told.items():
            is_count = isinstance(value, int) and not isinstance(value, bool)
            typer.echo(f"{name.replace('_', ' '):14} {f'{value:,}' if is_count else value}")


def clusters(
    place: Place, output: options.Output = None, top: options.Top = 20, as_json: options.AsJson = False
) -> None:
    """Show the largest clusters; with -o write the cluster, the keeper and the score to it of every text.

    `textsiam index clusters faq.index -o clusters.csv`
    """
    from textsiam.indexing.index import Index

    with answering():
        check_outputs(output, as_json=as_json)
        with Index.open(place) as opened:
            found = opened.clusters()
            merges = opened.merges()
        if output:
            write_columns(output, [found.columns()])
        if as_json:
            told = [{"cluster": one.cluster, "into": one.into, "at": one.at} for one in merges]
            summary = {"texts": len(found.cluster), "clusters": len(found), "dropped": found.n_dropped, "merges": told}
            ids = found.columns()["id"]
            groups = [
                {"cluster": int(found.cluster[rows[0]]), "ids": [ids[row] for row in rows]} for rows in found.groups()
            ]
            answer_json(summary, **({} if output else {"clusters": groups}))
            return
        if output is None:
            show_clusters(found, top)
        say(f"{len(found):,} clusters of two texts or more, {found.n_dropped:,} texts that match their keeper")


def export(
    place: Place,
    output: Annotated[
        Path, Option("--output", "-o", help="A .parquet with vectors, or a .csv or .jsonl without; - is csv on stdout.")
    ] = Path("index.parquet"),
) -> None:
    """Write all texts with their clusters to a file that other programs read.

    `textsiam index export faq.index -o faq.parquet`
    """
    from textsiam.indexing.index import Index

    with answering():
        check_outputs(output)
        with Index.open(place) as opened:
            if str(output) == "-":
                write_columns(output, [opened.columns()])
                return
            n = opened.export(output)
        say(f"wrote {n:,} texts → {output}")


def compact(place: Place, timeout: Timeout = 60.0) -> None:
    """Free the space of removed texts.

    `textsiam index compact faq.index`
    """
    from textsiam.indexing.index import Index

    with answering(), Index.open(place, timeout_s=timeout) as opened:
        opened.compact()
        say(f"{len(opened):,} texts")


def verify(
    place: Place,
    no_repair: Annotated[bool, Option("--no-repair", help="Only check; change nothing.")] = False,
    timeout: Timeout = 60.0,
    model: options.Model = None,
    backend: options.BackendName = "auto",
    device: options.Device = None,
    as_json: options.AsJson = False,
) -> None:
    """Check the whole index and repair what is damaged. Exit code 1: something is damaged and not repaired.

    Missing or changed vectors are computed again from their texts. Entries whose text is not kept are removed, and their ids
    are printed on standard output: `textsiam index verify faq.index > lost.txt`.
    """
    from textsiam.indexing.index import Index

    with answering(), following("verify") as progress:
        with Index.open(place, timeout_s=timeout) as opened:
            told = opened.verify(repair=False, progress=progress)
            precision = opened.settings["precision"]
        if not told and not told.ledger and not no_repair:
            computing = ComputeOptions(backend=backend, device=device, dtype=precision)
            siamese = computing.load(model) if len(told.damaged) > len(told.lost) else None
            with Index.open(place, siamese, timeout_s=timeout) as opened:
                told = opened.verify()
        if as_json:
            names = ("n", "damaged", "lost", "misplaced", "ledger", "repaired")
            answer_json({name: getattr(told, name) for name in names})
        else:
            say(str(told))
            for name in told.lost:  # all of them: nothing else records the removed ids
                typer.echo(name)
        if not told and (told.lost or not told.repaired):
            raise typer.Exit(NO)


@spread
def rebuild(
    place: Place,
    *,
    threshold: Annotated[
        float | None, Option(callback=options.finite, help="New lowest score of a match. Default: the model's own.")
    ] = None,
    timeout: Timeout = 60.0,
    model: ModelOptions,
) -> None:
    """Compute all vectors again with another model, from the texts in the index. Until the end, searches use the old vectors.

    Without --dtype the precision stays the same; without --threshold the model's own threshold is used.

    `textsiam index rebuild faq.index --model my-model`
    """
    from textsiam.indexing.index import Index
    from textsiam.matching.duplicates import threshold_of

    with answering("The index has not changed; run the same command again to go on."), following("rebuild") as progress:
        with Index.open(place, timeout_s=timeout) as before:
            settings = before.settings
        siamese = model.load(settings["precision"])
        if (will_be := threshold_of(siamese, threshold)) != settings["threshold"]:
            say(f"the threshold was {settings['threshold']:g} and will be {will_be:g}")
        started: list[int] = []

        def follow(n: int, total: int) -> None:
            if not started and n:
                say(f"going on after {n:,} texts of an interrupted rebuild")
            started.append(n)
            progress(n, total)

        with Index.rebuild(place, siamese, threshold=threshold, timeout_s=timeout, progress=follow) as opened:
            now = opened.settings
            say(
                f"computed {len(opened):,} vectors with {now['model']} in {now['precision']} (before: {settings['precision']}); "
                f"threshold {now['threshold']:g} (before: {settings['threshold']:g})"
            )
