"""``textsiam encode``: writes the vectors of texts to a parquet file, in bounded memory; resumes after an interruption."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from textsiam.interfaces.shell import options
from textsiam.interfaces.shell.options import (
    ModelOptions,
    RayOptions,
    RowOptions,
    TextOptions,
    check_outputs,
    check_sources,
    spread,
)
from textsiam.interfaces.shell.ray import Job, encode_on_ray
from textsiam.interfaces.shell.terminal import (
    answer_json,
    answering,
    counted,
    following,
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


@spread
def encode(
    files: options.Files = None,
    *,
    columns: TextOptions,
    output: Annotated[Path, Option("--output", "-o", help="The .parquet file to write: id, embedding.")] = Path(
        "vectors.parquet"
    ),
    prompt: options.Prompt = None,
    shard_rows: Annotated[int, Option(min=1, help="Rows per shard: what an interruption can cost.")] = 8_192,
    rows: RowOptions,
    model: ModelOptions,
    on_ray: RayOptions,
    as_json: options.AsJson = False,
) -> None:
    """Encode texts to vectors in a parquet file, in bounded memory.

    After an interruption, run the same command again to go on: finished shards are kept in OUTPUT.parts.
    """
    from textsiam.data.sources import open_source
    from textsiam.data.tables import Dialect
    from textsiam.encoding.shards import encode_to_parquet

    on_ray.check()
    with answering(on_ray.after_interrupt(output) if on_ray else partial(_kept, output)):
        files = _checked(files, output, on_ray, rows, as_json=as_json)
        if on_ray:
            job = Job(files, rows.reading(columns), model, prompt, shard_rows)
            encode_on_ray(on_ray, job, output=output, set_aside=rows.set_aside, as_json=as_json)
            return
        started = time.perf_counter()
        with ExitStack() as opened:
            opening: dict[str, Any] = dict(split=columns.split, dialect=Dialect(**vars(rows.dialect)))
            tables = [opened.enter_context(closing(open_source(file, **opening))) for file in files]
            siamese = model.load()
            chunks = _chunks(tables, columns, shard_rows, strict=rows.strict)
            progress = opened.enter_context(following("encode"))
            report = encode_to_parquet(siamese.encoder, chunks, output, prompt=prompt, progress=progress)
        say_set_aside(report.set_aside, rows.set_aside)
        _tell(report, siamese, output, round(time.perf_counter() - started, 2), as_json=as_json)


def _checked(
    files: list[str] | None, output: Path, on_ray: RayOptions, rows: RowOptions, *, as_json: bool
) -> list[str]:
    """The files to read; refuses, before the slow work, options and outputs that cannot work."""
    from textsiam.errors import UnreadableInput

    if output.suffix != ".parquet":
        raise UnreadableInput(f"Vectors are written as parquet, but the output is {output}. End it in .parquet.")
    if not files:
        raise typer.BadParameter("Give files, or - for standard input.")
    if on_ray:
        from textsiam.distributing.shard_sources import expanded

        on_ray.refuse(strict=rows.strict)
        files = expanded(files)
    check_sources(files)
    check_outputs(output, rows.set_aside, inputs=files, as_json=as_json)
    return files


def _chunks(tables: "list[Table]", columns: TextOptions, n_rows: int, *, strict: bool) -> Iterator["Texts"]:
    from textsiam.data.readers import stream_texts
    from textsiam.data.texts import SetAside

    reading: dict[str, Any] = dict(column=columns.column, id_column=columns.id_column, n_rows=n_rows)
    for table in tables:
        for place, chunk in enumerate(stream_texts(table, **reading)):
            if place == 0:
                say(f"{table.name}: {mapped(chunk.mapping)}")
            if strict:
                (chunk.set_aside + SetAside(chunk.renamed)).refuse()
            say_renamed(chunk.renamed)
            several = len(tables) > 1
            yield replace(chunk, ids=[f"{table.name}:{name}" for name in chunk.ids]) if several else chunk


def _kept(output: Path) -> str | None:
    """What to say after Ctrl-C, if shards are finished."""
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
