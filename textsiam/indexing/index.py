"""The index: texts kept for years, each new one compared with all before it, by processes that may be killed.

An index has one encoder, one threshold and one set of clusters. Its answers are those of one batch run over all its texts, given
the same vectors. It is kept in a folder, or in a PostgreSQL database (`textsiam.indexing.storage.store`).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, final

import numpy as np
from jaxtyping import Shaped

from textsiam.data.texts import as_list
from textsiam.encoding.encoder import Progress
from textsiam.errors import BrokenIndex
from textsiam.indexing.changes.adding import Arrivals, Writing, fault_of_id
from textsiam.indexing.changes.clusters import change
from textsiam.indexing.changes.rebuilding import rebuild
from textsiam.indexing.changes.repair import Soundness, verify
from textsiam.indexing.exporting import COLUMNS, blocks, clusters_of, export
from textsiam.indexing.identity import SCHEMA, check_encoder, settings_of
from textsiam.indexing.open_index import Opened, create_store, made_key, make_if_large, open_store
from textsiam.indexing.search.searching import search
from textsiam.indexing.storage.ledger import Ledger, Merge
from textsiam.indexing.storage.store import Place, Store, checked, shown
from textsiam.indexing.storage.vector_file import DTYPES
from textsiam.matching.join.exact import MAX_MATCHES
from textsiam.matching.matches import Clusters, Matches
from textsiam.scoring.siamese import Siamese


@final
class Index:
    """Texts with their vectors and clusters, kept safe: open one with `Index.open`, make one with `Index.create`.

    Several threads may use one object, and several processes may open one index: one writes at a time, and a reader sees what was
    committed when its call began. Where others take too long, all but `len` raise `IndexLocked` (see `timeout_s` of `open`). The
    folder must be on a local disk.

    Examples
    --------
    >>> import tempfile
    >>> index = Index.create(tempfile.mkdtemp(), Siamese.load(), threshold=0.8)
    >>> _ = index.add(["q1", "q2"], ["How do I reset my password?", "Where is my parcel?"])
    >>> index.search(["How can I reset my password?"]).id_columns()[1]
    ['q1']
    """

    def __init__(self, place: Place, store: Store, settings: dict[str, Any], model: Siamese | None) -> None:
        self._at = Opened(shown(place), store, settings, model)

    @classmethod
    def create(
        cls,
        folder: Place,
        model: Siamese,
        *,
        threshold: float | None = None,
        keep_texts: bool = True,
        prompt: str | None = None,
        stored_as: str = "float32",
    ) -> "Index":
        """A new, empty index.

        Parameters
        ----------
        folder
            A folder that does not exist or is empty, or the connection string of a PostgreSQL database with pgvector
            (``postgresql://…``).
        model
            Its encoder, in the precision class in which all texts will be encoded, and its similarity.
        threshold
            The lowest score at which two texts match; only `rebuild` can change it. Default: the model decides, as in
            `textsiam.find_duplicates`: clusters are made of what it accepts.
        keep_texts
            Whether the texts are kept beside their vectors: answers show them, and `rebuild` and `verify` can encode them again.
        prompt
            As for `Siamese.encode`, for all texts.
        stored_as
            ``float32``, or ``float16`` for half the space: numbers are rounded to 11 bits before anything is compared; those
            above 65,504 are refused, those below 6e-8 become 0.

        Raises
        ------
        FileExistsError
            If something is at that place already.
        NotCalibrated
            If neither the call nor the model gives a threshold.
        UnreadableInput
            If the model decides by reading both texts, and they are not kept.
        UnsupportedModel
            If the model computes in int8.
        ValueError
            If the threshold is not a possible score, or `stored_as` is neither of the two.

        Examples
        --------
        >>> import tempfile
        >>> len(Index.create(tempfile.mkdtemp(), Siamese.load()))
        0
        """
        if stored_as not in DTYPES:
            raise ValueError(f"Vectors are stored as {' or '.join(DTYPES)}, but got {stored_as!r}. Use one of them.")
        settings = settings_of(model, threshold=threshold, prompt=prompt, keep_texts=keep_texts)

        def write(ledger: Ledger) -> None:
            ledger.put("settings", settings)
            ledger.put("made", made_key(settings))

        return cls(folder, create_store(folder, settings["dim"], model.similarity, stored_as, write), settings, model)

    @classmethod
    def open(cls, folder: Place, model: Siamese | None = None, *, timeout_s: float = 60.0) -> "Index":
        """An existing index.

        Parameters
        ----------
        folder
            As for `create`.
        model
            The model whose encoder made its vectors. None: texts can be removed, exported and counted, but not encoded.
        timeout_s
            How long to wait for another writer, or for other threads that use this object; then `IndexLocked` is raised.

        Raises
        ------
        IndexNotFound
            If there is none.
        EncoderMismatch
            If its vectors are not this encoder's: another model, maximum length, tokenizer or precision class, or other vectors
            for the canary texts. `rebuild` makes them again.
        BrokenIndex
            If its database is damaged. A truncated file of vectors raises it when it is read. `verify` finds damage and repairs
            it.
        PermissionError
            If this process may not write to its folder; reading needs that too.

        Examples
        --------
        >>> Index.open("no-such-index", Siamese.load())
        Traceback (most recent call last):
        textsiam.errors.IndexNotFound: There is no index at no-such-index. Create one: textsiam index add (Index.create).
        """
        store = open_store(folder, timeout_s)
        try:
            settings = _settings(folder, store)
            if model is not None:
                check_encoder(model, settings, shown(folder))
        except BaseException:
            store.close()
            raise
        return cls(folder, store, settings, model)

    @classmethod
    def rebuild(
        cls,
        folder: Place,
        model: Siamese,
        *,
        threshold: float | None = None,
        progress: Progress | None = None,
        timeout_s: float = 60.0,
    ) -> "Index":
        """An index with all vectors made again by another encoder, from the texts that it keeps.

        Until all are made the old ones answer. After an interruption, the same call continues where it stopped. Keepers stay
        keepers, with their cluster's number, unless two of them match now: then the later one's cluster is merged into the
        other's.

        Parameters
        ----------
        folder, model, threshold
            As for `create`.
        progress
            Called with (texts done, texts in all) from time to time.
        timeout_s
            As for `open`.

        Raises
        ------
        UnreadableInput
            If the index keeps no texts.
        """
        store = open_store(folder, timeout_s)
        try:
            before = _settings(folder, store)
            kept = dict(prompt=before["prompt"], keep_texts=before["keep_texts"])
            settings = settings_of(model, threshold=threshold, **kept) | {"created": before["created"]}
            rebuild(shown(folder), store, model, settings, progress)
        finally:
            store.close()
        return cls.open(folder, model, timeout_s=timeout_s)

    def add(
        self,
        ids: Iterable[object],
        texts: Iterable[object] | None = None,
        *,
        embeddings: Shaped[np.ndarray, "n dim"] | None = None,
        strict: bool = False,
        max_matches: int = MAX_MATCHES,
        progress: Progress | None = None,
    ) -> Matches:
        """Put texts into the index; returns what each matches among those that were there before it.

        Parameters
        ----------
        ids
            One per text, strings or integers. An id that is there with the same text is left as it is, so that an interrupted
            call can be repeated; with another text it is set aside (`update` changes a text). Unusable texts are set aside too.
        texts
            One per id.
        embeddings
            (n, dim) made by the index's encoder, if they exist already; then texts may be missing.
        strict
            Raise `BadRows` if anything would be set aside, before anything is written.
        max_matches
            The most matches to return.
        progress
            Called with (texts done, texts in all) from time to time.

        Returns
        -------
        matches
            ``left`` are positions in `texts`, ``right`` rows of the index, of which earlier texts of this call are part: each
            pair is returned once, with the later of its two texts. `right_ids` names them; row numbers may change with `compact`.
            ``set_aside`` says what could not be used, ``added`` how many texts are new.

        Raises
        ------
        UnreadableInput
            If the columns differ in length.
        BadRows
            If `strict` and something cannot be used.
        TooManyMatches
            If more than `max_matches` pairs match.
        OSError
            What the file system says, such as a full disk.
            After any error, what was committed before (8,192 texts or 32,768 vectors at a time) stays; the rest is not there.
        """
        ids, texts = as_list(ids), None if texts is None else as_list(texts)
        vectors = None if embeddings is None else checked(embeddings, self.dim)
        arrivals = Arrivals.of(ids, texts, vectors, keep=self._at.settings["keep_texts"], unfit=self._at.store.unfit)
        given = None if vectors is None else vectors[arrivals.places]
        return Writing(self._at, arrivals, given, arrivals.new, max_matches, strict=strict).run(texts, ids, progress)

    def update(
        self,
        ids: Iterable[object],
        texts: Iterable[object],
        *,
        strict: bool = False,
        max_matches: int = MAX_MATCHES,
        progress: Progress | None = None,
    ) -> Matches:
        """Give existing ids another text: the same as removing and adding them, in one step.

        Parameters, return value and errors are those of `add`; ``added`` counts the texts that changed. Unknown ids are set
        aside.
        """
        ids, texts = as_list(ids), as_list(texts)
        arrivals = Arrivals.of(ids, texts, None, keep=self._at.settings["keep_texts"], unfit=self._at.store.unfit)
        return Writing(self._at, arrivals, None, arrivals.changed, max_matches, strict=strict).run(texts, ids, progress)

    def remove(self, ids: Iterable[object]) -> int:
        """Remove texts; returns how many. Unknown and impossible ids are ignored.

        The best member of a removed keeper that matches no other keeper takes its place (`textsiam.indexing.changes.clusters`).
        """
        names = list(dict.fromkeys(str(name) for name in as_list(ids) if not fault_of_id(name)))
        store = self._at.store
        none = np.empty((0, self.dim), dtype=np.float32)

        def work() -> int:
            items = store.ledger.items("id", names)
            change(store, self._at.rule, items, [], none, self._at.decide)
            return len(items)

        return store.write(work, self._at.made)

    def search(
        self,
        texts: Iterable[object] | None = None,
        *,
        threshold: float | None = None,
        k: int | None = None,
        embeddings: Shaped[np.ndarray, "n dim"] | None = None,
        ids: Sequence[str] | None = None,
        searcher: str = "auto",
        max_matches: int = MAX_MATCHES,
        progress: Progress | None = None,
    ) -> Matches:
        """Every text of the index whose score with one of these reaches the threshold.

        Parameters
        ----------
        texts
            Strings. Unusable ones match nothing; they are logged as a warning.
        threshold
            Lowest score. Default: the index's own; with `k` none.
        k
            At most the k closest for each text, the closest first.
        embeddings
            (n, dim) instead of texts, made by the index's encoder.
        ids
            One per text, for the answer.
        searcher
            ``exact``; ``approximate``, with the structure that `approximate` made; ``auto``: exact below a million rows
            (`textsiam.indexing.search.approximate.APPROXIMATE_FROM`: up to there exact search was measured), from there on
            approximate if there is a structure for this threshold, else exact. With `k` always exact.
        max_matches
            The most matches to return.

        Returns
        -------
        matches
            ``left`` are positions in `texts`, ``right`` rows of the index, in their order, with `k` by falling score. ``recall``
            is the measured share that an approximate search finds; None: nothing is missing.

        Raises
        ------
        TooManyMatches
            If more than `max_matches` pairs reach the threshold; nothing is ever cut off silently.
        BrokenIndex
            If vectors are missing.
        """
        return search(
            self._at,
            texts,
            embeddings,
            threshold=threshold,
            k=k,
            ids=ids,
            searcher=searcher,
            max_matches=max_matches,
            progress=progress,
        )

    def matches_of(
        self,
        model: Siamese,
        texts: Sequence[object],
        *,
        threshold: float | None,
        ids: Sequence[str] | None,
        max_matches: int,
        progress: Progress | None,
    ) -> Matches:
        """`search` with a model that must be the index's own; `textsiam.find_duplicates` calls it."""
        if model is not self.model:
            check_encoder(model, self._at.settings, self._at.place)
        return search(
            self._at,
            texts,
            None,
            threshold=threshold,
            k=None,
            ids=ids,
            max_matches=max_matches,
            model=model,
            progress=progress,
        )

    def clusters(self) -> Clusters:
        """Every text's cluster, its keeper and its score to it.

        Rows are positions among the texts in the index, in order of arrival. Cluster numbers are never used twice, and change
        only as `textsiam.indexing.changes.clusters` says.
        """
        return clusters_of(self._at)

    def counts(self) -> dict[str, int]:
        """``texts``, ``clusters`` of two texts or more, and the texts ``in_clusters``."""

        def count() -> dict[str, int]:
            n, n_members = self._at.store.ledger.in_clusters()
            return {"texts": len(self._at.store.ledger), "clusters": n, "in_clusters": n + n_members}

        return self._at.store.read(count, self._at.made)

    def merges(self) -> list[Merge]:
        """The clusters that were merged into another, in order of their numbers, with the time."""
        return self._at.store.read(self._at.store.ledger.merges, self._at.made)

    def compact(self) -> None:
        """Give back the space of removed texts. Rows get new numbers, in the same order; ids and clusters stay."""
        self._at.store.compact()
        make_if_large(self._at)

    def approximate(self, *, threshold: float | None = None, recall: float = 0.99) -> float:
        """Make the structure that approximate search needs, for an index of millions of texts; returns its measured recall.

        `add` of 8,192 texts or more in one call and `compact` make it by themselves, from a million rows on
        (`textsiam.indexing.search.approximate.APPROXIMATE_FROM`) and again whenever the rows have doubled. It is a cache: texts
        added later are searched exactly, and so is everything once it is missing. It takes a minute for a million texts, during
        which this object does nothing else; other processes can read and write.

        Parameters
        ----------
        threshold
            The lowest score that will be searched for. Default: the index's own.
        recall
            The least share of matches to be found, measured both on pairs of its texts and on made-up ones exactly at the
            threshold.

        Raises
        ------
        ValueError
            If no fast setting reaches the recall, or the similarity is not cosine.
        MissingExtra
            If faiss is not installed.
        """
        lowest = self.threshold if threshold is None else threshold
        return self._at.store.read(lambda: self._at.store.view.make_fast(lowest, recall), self._at.made)

    def columns(self) -> dict[str, Any]:
        """``id, text, cluster, keeper, score_to_keeper`` of every text, in order of arrival; scores are fp32, NaN for keepers."""
        parts = self._at.store.read(lambda: list(blocks(self._at, with_embeddings=False)), self._at.made)
        columns: dict[str, Any] = {name: [value for part in parts for value in part[name]] for name in COLUMNS}
        return columns | {"score_to_keeper": np.array(columns["score_to_keeper"], dtype=np.float32)}

    def verify(self, *, repair: bool = True, progress: Progress | None = None) -> Soundness:
        """Read everything once, report what is damaged, and repair it.

        Parameters
        ----------
        repair
            Make damaged or missing vectors again from their texts, remove those whose text is not kept (they are named: add them
            again), move what is in a wrong cluster, delete caches that belong to other vectors. False: only report.
        progress
            Called with (texts read, texts in all) from time to time.

        Returns
        -------
        soundness
            True if nothing was wrong; otherwise it names the damage.

        Raises
        ------
        ValueError
            If vectors must be made again and the index was opened without a model.

        Examples
        --------
        >>> import tempfile
        >>> index = Index.create(tempfile.mkdtemp(), Siamese.load())
        >>> _ = index.add([1], ["How do I pay?"])
        >>> print(index.verify())
        1 texts, all sound
        """
        return verify(self._at, repair=repair, progress=progress)

    def export(self, target: str | Path) -> int:
        """Write ``id, text, cluster, keeper, score_to_keeper`` of every text to a .csv, .jsonl or .parquet file; return how many.

        Texts are in order of arrival; the file is written whole or not at all, in bounded memory. `keeper` is an id,
        `score_to_keeper` null for keepers. A parquet file also holds ``embedding``, `dim` numbers in fp32.

        Raises
        ------
        UnreadableInput
            If the ending is none of these.
        OSError
            If the file cannot be written.
        """
        return export(self._at, Path(target).expanduser())

    def close(self) -> None:
        """Close files and connections. What was added is safe without it."""
        self._at.store.close()

    def __len__(self) -> int:
        """How many texts there are; waits for other threads without a timeout."""
        return self._at.store.read(lambda: len(self._at.store.ledger), endlessly=True)

    def __contains__(self, name: object) -> bool:
        store = self._at.store
        return not fault_of_id(name) and bool(store.read(lambda: store.ledger.items("id", [str(name)]), self._at.made))

    def __enter__(self) -> "Index":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Index({len(self):,} texts at {self._at.place}, threshold {self.threshold:g})"

    @property
    def model(self) -> Siamese | None:
        """The model that encodes for it; None if it was opened without one."""
        return self._at.model

    @property
    def threshold(self) -> float:
        """The lowest score at which two texts match."""
        return float(self._at.settings["threshold"])

    @property
    def settings(self) -> dict[str, Any]:
        """What the index was made with, as plain values: ``model``, ``precision``, ``threshold``, ``created`` and more."""
        return dict(self._at.settings)

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return int(self._at.settings["dim"])


def _settings(folder: Place, store: Store) -> dict[str, Any]:
    settings: dict[str, Any] | None = store.read(lambda: store.ledger.value("settings"))
    if settings is None or settings["schema"] != SCHEMA:
        raise BrokenIndex(
            f"The index at {shown(folder)} has layout {settings and settings['schema']}, but this textsiam reads {SCHEMA}. "
            "Open it with the version that made it."
        )
    return settings
