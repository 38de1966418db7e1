"""``textsiam encode``: texts in, vectors in a parquet file out, in bounded memory, resumable."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textsiam.interfaces import options
from textsiam.interfaces.tables import check_outputs
from textsiam.interfaces.terminal import answering, following, load_model, mapped, model_told, say, say_set_aside

if TYPE_CHECKING:
    from textsiam.data.formats import Table
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
    prompt: Annotated[
        str | None, typer.Option(help="One of the model's prompts by name, or a text to put before each.")
    ] = None,
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
    as_json: options.AsJson = False,
) -> None:
    """Encode texts to vectors in a parquet file, in bounded memory.

    After an interruption the same command goes on where it stopped: finished shards wait in OUTPUT.parts.
    """
    from textsiam.data.formats import Dialect
    from textsiam.data.sources import open_source
    from textsiam.encoding.shards import encode_to_parquet
    from textsiam.errors import UnreadableInput

    with answering(f"Finished shards are kept in {output}.parts: run the same command again to go on."):
        started = time.perf_counter()
        if output.suffix != ".parquet":
            raise UnreadableInput(f"Vectors are written as parquet, but the output is {output}. End it in .parquet.")
        if not files:
            raise typer.BadParameter("Give files, or - for standard input.")
        check_outputs(output, set_aside)
        tables = [open_source(source, split, Dialect(format, delimiter, encoding)) for source in files]
        reading = dict(column=column, id_column=id_column, split=split, n_rows=shard_rows)
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

    for table in tables:
        for place, chunk in enumerate(stream_texts(table, **reading)):
            if place == 0:
                say(f"{table.name}: {mapped(chunk.mapping)}")
            if strict:
                chunk.set_aside.refuse()
            yield chunk


def _tell(report: "EncodeReport", siamese: "Siamese", output: Path, seconds: float, *, as_json: bool) -> None:
    if as_json:
        told = {"texts": report.n_texts, "set_aside": len(report.set_aside), "truncated": report.n_cut}
        told |= {"shards": report.n_shards, "shards_reused": report.n_reused}
        typer.echo(json.dumps({**told, "seconds": seconds, "output": str(output), **model_told(siamese)}))
        return
    if report.n_cut:
        say(f"{report.n_cut:,} texts were longer than {siamese.encoder.folder.max_length} tokens and were cut")
    reused = f" ({report.n_reused} of {report.n_shards} shards were there already)" if report.n_reused else ""
    say(f"encoded {report.n_texts:,} texts in {seconds:.1f} s{reused} → {output}")
