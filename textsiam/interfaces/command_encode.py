"""``textsiam encode``: texts in, vectors in a parquet file out, in bounded memory, resumable."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.distributed import Asked, OnCluster, encode_on_ray
from textsiam.interfaces.tables import check_outputs
from textsiam.interfaces.terminal import (
    answer_json,
    answering,
    check_sources,
    counted,
    following,
    load_model,
    mapped,
    model_told,
    say,
    say_lost,
    say_renamed,
    say_set_aside,
    set_aside_told,
)

if TYPE_CHECKING:
    from textsiam.data.tables import Table
    from textsiam.data.texts import Texts
    from textsiam.encoding.shards import EncodeReport
    from textsiam.scoring.siamese import Siamese


def encode(
    files: options.Files = None,
    column: options.Column = None,
    id_column: options.IdColumn = None,
    split: options.SplitName = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .parquet file to write: id, embedding.")] = Path(
        "vectors.parquet"
    ),
    prompt: options.Prompt = None,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows a shard: what an interruption can cost.")] = 8_192,
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
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Encode texts to vectors in a parquet file, in bounded memory.

    After an interruption the same command goes on where it stopped: finished shards wait in OUTPUT.parts.
    """
    from textsiam.data.sources import open_source
    from textsiam.data.tables import Dialect
    from textsiam.encoding.shards import encode_to_parquet
    from textsiam.errors import UnreadableInput

    cluster = OnCluster.of(ray=ray, address=ray_address, work=work, dry_run=dry_run)
    with answering(cluster.after_interrupt(output) if cluster else partial(_kept, output)):
        started = time.perf_counter()
        if output.suffix != ".parquet":
            raise UnreadableInput(f"Vectors are written as parquet, but the output is {output}. End it in .parquet.")
        if not files:
            raise typer.BadParameter("Give files, or - for standard input.")
        if cluster:
            cluster.refuse(strict=strict)
            files = cluster.sources(files)
        check_sources(files)
        check_outputs(output, set_aside, inputs=files, as_json=as_json)
        if cluster:
            siamese = load_model(model, backend, device, dtype)
            options_of = dict(column=column, id_column=id_column, split=split, format=format, delimiter=delimiter)
            options_of |= dict(encoding=encoding)
            asked = Asked.of(
                files, options_of, siamese, model, backend=backend, device=device, prompt=prompt, shard_rows=shard_rows
            )
            encode_on_ray(cluster, asked, output=output, set_aside=set_aside, as_json=as_json)
            return
        tables = [open_source(source, split, Dialect(format, delimiter, encoding)) for source in files]
        reading = dict(column=column, id_column=id_column, n_rows=shard_rows)
        siamese = load_model(model, backend, device, dtype)
        with following() as progress:
            report = encode_to_parquet(
                siamese.encoder,
                _chunks(tables, reading, strict=strict),
                output,
                prompt=prompt,
                progress=lambda done, total: progress("encode", done, total),
            )
        say_set_aside(report.set_aside, set_aside)
        _tell(report, siamese, output, round(time.perf_counter() - started, 2), as_json=as_json)


def _chunks(tables: "list[Table]", reading: dict[str, Any], *, strict: bool) -> Iterator["Texts"]:
    from textsiam.data.streams import stream_texts
    from textsiam.data.texts import SetAside

    for table in tables:
        with closing(table):
            for place, chunk in enumerate(stream_texts(table, **reading)):
                if place == 0:
                    say(f"{table.name}: {mapped(chunk.mapping)}")
                if strict:
                    (chunk.set_aside + SetAside(chunk.renamed)).refuse()
                say_renamed(chunk.renamed)
                several = len(tables) > 1
                yield replace(chunk, ids=[f"{table.name}:{name}" for name in chunk.ids]) if several else chunk


def _kept(output: Path) -> str | None:
    """What an interruption left, if anything."""
    parts = output.with_name(f"{output.name}.parts")
    is_any = parts.is_dir() and any(parts.iterdir())
    return f"Finished shards are kept in {parts}: run the same command again to go on." if is_any else None


def _tell(report: "EncodeReport", siamese: "Siamese", output: Path, seconds: float, *, as_json: bool) -> None:
    if as_json:
        told = {"texts": report.n_texts, "set_aside": set_aside_told(report.set_aside), "truncated": report.n_cut}
        told |= {"with_unknown_characters": report.n_unknown}
        told |= {"shards": report.n_shards, "shards_reused": report.n_reused}
        answer_json({**told, "seconds": seconds, "output": str(output), **model_told(siamese)})
        return
    say_lost(report.n_cut, report.n_unknown)
    reused = f" ({report.n_reused} of {report.n_shards} shards were there already)" if report.n_reused else ""
    texts = counted(report.n_texts, "text", "texts")
    say(f"encoded {texts} in {seconds:.1f} s{reused} → {output}")
