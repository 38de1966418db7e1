"""Duplicates among texts: encode the distinct ones, join them, and give every repeat its pairs back."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from textsiam.data.texts import Texts, as_list, distinct, fault_of, first_repeat, normalise
from textsiam.encoding.encoder import Encoded
from textsiam.errors import NotCalibrated, TooManyMatches
from textsiam.matching.exact import MAX_MATCHES, SEARCHERS
from textsiam.matching.matches import Matches
from textsiam.scoring.siamese import Siamese
from textsiam.scoring.thresholds import decisions

logger = logging.getLogger("textsiam")

Rows = Int[np.ndarray, " _"]  # row numbers, of any length
Progress = Callable[[str, int, int], None]  # (stage, done, total); the stages are "encode" and "join"


def find_duplicates(
    model: Siamese,
    texts: Iterable[object],
    *,
    against: Iterable[object] | None = None,
    threshold: float | None = None,
    prompt: str | None = None,
    ids: Sequence[str] | None = None,
    searcher: str | Callable[..., Matches] = "exact",
    max_memory_mb: int = 256,
    max_matches: int = MAX_MATCHES,
    progress: Progress | None = None,
) -> Matches:
    """Every pair of texts whose score reaches the threshold, and no other.

    Parameters
    ----------
    texts
        Strings, or `Texts` with their ids. Values that are no usable text match nothing; they are logged as a warning.
    against
        Compare `texts` with these instead of with themselves.
    threshold
        Lowest score. Default: the model's own accept threshold.
    prompt
        As for `Siamese.encode`.
    ids
        One for each text, all different. Default: the ids of `Texts`, else row numbers.
    searcher
        A name from `SEARCHERS`, or a function with the parameters of `threshold_join`.
    max_memory_mb, max_matches
        As for `threshold_join`.
    progress
        Called with (stage, done, total) now and then.

    Returns
    -------
    matches
        ``left`` and ``right`` are positions in `texts` (and `against`). Exact repeats are encoded once and appear as
        pairs like any other. Probability and decision are there if the model has a calibration and a threshold. In int8 the
        pairs are those of the certified class, unless int8 moved a score further than it did on all pairs that `admit` saw.

    Raises
    ------
    NotCalibrated
        If neither the call nor the model gives a threshold.
    TooManyMatches
        If more than `max_matches` pairs reach it; repeated texts alone are counted before anything is encoded.
    ValueError
        If ids repeat or their number is not that of the texts, or the threshold is not finite.

    Examples
    --------
    >>> questions = ["How do I reset my password?", "Where is my parcel?", "How can I reset my password?"]
    >>> matches = find_duplicates(Siamese.load(), questions, threshold=0.8)
    >>> matches.left, matches.right
    (array([0]), array([2]))
    """
    if isinstance(searcher, str) and searcher not in SEARCHERS:
        raise ValueError(f"There is no searcher {searcher!r}. Use one of {', '.join(SEARCHERS)}, or a function.")
    threshold = _threshold_of(model, threshold)
    texts, against = as_list(texts), None if against is None else as_list(against)
    left_ids = _ids_of(texts, ids)
    left = _Side.of(texts, "texts")
    right = None if against is None else _Side.of(against, "against")
    if right is None:
        _refuse_too_many(int((left.sizes * (left.sizes - 1) // 2).sum()), max_matches)
    encoded, others = _encoded(model, left, right, prompt, progress)
    join = SEARCHERS[searcher] if isinstance(searcher, str) else searcher
    found = join(
        encoded.embeddings,
        None if others is None else others.embeddings,
        threshold=threshold - (model.rescorer.largest if model.rescorer else 0),
        similarity=model.similarity,
        max_memory_mb=max_memory_mb,
        # Some of those below the threshold do not reach it when they are scored again.
        max_matches=max_matches * (4 if model.rescorer else 1),
        progress=_stage(progress, "join"),
    )
    if model.rescorer:
        found = _rescored(model, found, left, right, threshold, prompt)
    pairs = _crossed(found, left, right or left, max_matches)
    if right is None:
        repeated = np.flatnonzero(left.sizes > 1)
        own = model.compare(encoded.embeddings, encoded.embeddings, repeated, repeated)
        reach = own >= np.float32(threshold)
        pairs = _with_repeats(pairs, _repeats(left, repeated[reach], own[reach]))
        _refuse_too_many(len(pairs.score), max_matches)
    return Matches(
        pairs.left,
        pairs.right,
        pairs.score,
        n_left=len(texts),
        n_right=None if against is None else len(against),
        probability=None if model.calibrator is None else model.calibrated(pairs.score),
        decision=None if model.threshold is None else decisions(pairs.score, model.threshold, model.reject_threshold),
        left_ids=left_ids,
        right_ids=None if against is None else _ids_of(against, None),
        left_texts=texts,
        right_texts=against,
        cut=left.rows_where(encoded.cut),
        right_cut=[] if others is None or right is None else right.rows_where(others.cut),
        unknown=left.rows_where(encoded.unknown),
        right_unknown=[] if others is None or right is None else right.rows_where(others.unknown),
    )


def find_repeats(
    texts: Iterable[object],
    *,
    normalised: bool = True,
    ids: Sequence[str] | None = None,
    max_matches: int = MAX_MATCHES,
) -> Matches:
    """Every pair of equal texts, found without an encoder; score 1.

    Parameters
    ----------
    texts, ids, max_matches
        As for `find_duplicates`.
    normalised
        Also pair texts that are equal after `textsiam.data.texts.normalise` (compatibility characters, case, whitespace).

    Raises
    ------
    TooManyMatches, ValueError
        As for `find_duplicates`.

    Examples
    --------
    >>> list(find_repeats(["How do I pay?", "how do I  pay?", "Where?"]))
    [Match(left=0, right=1, score=1.0)]
    """
    texts = as_list(texts)
    left_ids = _ids_of(texts, ids)
    side = _Side.of(texts, "texts", normalise if normalised else None)
    _refuse_too_many(int((side.sizes * (side.sizes - 1) // 2).sum()), max_matches)
    pairs = _repeats(side, np.arange(len(side.unique)), np.ones(len(side.unique), dtype=np.float32))
    return Matches(*pairs, n_left=len(texts), left_ids=left_ids, left_texts=texts)


@dataclass(frozen=True)
class _Side:
    """The usable texts of one set: where they stand, each distinct one once, and which rows repeat it."""

    places: Rows  # position of each usable text in what the caller gave
    unique: list[str]
    rows: Rows  # for each usable text the place of its equal in `unique`
    members: Rows  # places, grouped by distinct text
    starts: Rows  # where each group begins in `members`
    sizes: Rows  # rows of each group

    @classmethod
    def of(cls, texts: Sequence[object], name: str, key: Callable[[str], str] | None = None) -> "_Side":
        places = np.array(
            [place for place, text in enumerate(texts) if isinstance(texts, Texts) or not fault_of(text)],
            dtype=np.int64,
        )
        if len(places) < len(texts):
            wrong = np.setdiff1d(np.arange(len(texts)), places)
            logger.warning(
                "%d of %d %s are unusable and match nothing: positions %s",
                len(wrong),
                len(texts),
                name,
                wrong[:10].tolist(),
            )
        usable = [str(texts[place]) for place in places.tolist()]
        unique, rows = distinct(map(key, usable) if key else usable)
        sizes = np.bincount(rows, minlength=len(unique))
        return cls(places, unique, rows, places[np.argsort(rows, kind="stable")], np.cumsum(sizes) - sizes, sizes)

    def rows_where(self, flags: Shaped[np.ndarray, " _"]) -> list[int]:
        """Positions, in what the caller gave, of the texts whose distinct text is flagged."""
        return [int(place) for place in self.places[flags[self.rows]]]


class _Rows(NamedTuple):
    """Pairs of rows with scores, left before right, in order."""

    left: Rows
    right: Rows
    score: Float[np.ndarray, " _"]

    @classmethod
    def ordered(cls, left: Rows, right: Rows, score: Float[np.ndarray, " _"]) -> "_Rows":
        order = np.lexsort((right, left))
        return cls(left[order], right[order], score[order])


def _encoded(
    model: Siamese, left: _Side, right: _Side | None, prompt: str | None, progress: Progress | None
) -> tuple[Encoded, Encoded | None]:
    """The distinct texts of the left side, and of the right if there is one, encoded together."""
    unique = left.unique if right is None else [*left.unique, *right.unique]
    encoded = model.encoder.embed(unique, prompt=prompt, progress=_stage(progress, "encode"))
    n = len(left.unique)
    return encoded[:n], None if right is None else encoded[n:]


def _rescored(
    model: Siamese, found: Matches, left: _Side, right: _Side | None, threshold: float, prompt: str | None
) -> Matches:
    """Those matches of distinct texts that still reach the threshold when what is near it is scored again."""
    assert model.rescorer is not None  # noqa: S101  the caller asked
    texts = left.unique if right is None else [*left.unique, *right.unique]
    others = found.right if right is None else found.right + len(left.unique)
    thresholds = (model.threshold, model.reject_threshold)
    score = model.rescorer(
        model.compare, texts, found.left, others, found.score, thresholds=thresholds, own=threshold, prompt=prompt
    )
    keep = score >= np.float32(threshold)
    return Matches(found.left[keep], found.right[keep], score[keep], found.n_left, found.n_right)


def _stage(progress: Progress | None, name: str) -> Callable[[int, int], None]:
    return lambda n_done, n: progress(name, n_done, n) if progress else None


def _crossed(found: Matches, left: _Side, right: _Side, max_matches: int) -> _Rows:
    """Matches of distinct texts → matches of all rows that hold them: every row of one with every row of the other."""
    i, j = found.left, found.right
    counts = left.sizes[i] * right.sizes[j]
    _refuse_too_many(int(counts.sum()), max_matches)
    pair = np.repeat(np.arange(len(i)), counts)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = right.sizes[j][pair]
    a = left.members[left.starts[i][pair] + place // width]
    b = right.members[right.starts[j][pair] + place % width]
    if found.n_right is None:
        a, b = np.minimum(a, b), np.maximum(a, b)
    return _Rows.ordered(a, b, found.score[pair])


def _repeats(side: _Side, groups: Rows, scores: Float[np.ndarray, " n"]) -> _Rows:
    """Every two rows that hold the same text, for these distinct texts and the score of each with itself."""
    left, right, own = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    many = side.sizes[groups] > 1
    for group, score in zip(groups[many].tolist(), scores[many].tolist(), strict=True):
        rows = side.members[side.starts[group] : side.starts[group] + side.sizes[group]]
        a, b = np.triu_indices(len(rows), k=1)
        left.append(rows[a])
        right.append(rows[b])
        own.append(np.full(len(a), score, dtype=np.float32))
    return _Rows.ordered(np.concatenate(left), np.concatenate(right), np.concatenate(own))


def _with_repeats(pairs: _Rows, repeats: _Rows) -> _Rows:
    return _Rows.ordered(*(np.concatenate(columns) for columns in zip(pairs, repeats, strict=True)))


def _threshold_of(model: Siamese, threshold: float | None) -> float:
    if threshold is not None:
        if not np.isfinite(threshold):
            raise ValueError(f"A threshold is a finite score, but got {threshold}. Give a number.")
        if model.similarity == "cosine" and not -1 <= threshold <= 1:
            raise ValueError(
                f"A cosine lies between -1 and 1, but the threshold is {threshold:g}. Give one in between."
            )
        return float(threshold)
    if model.threshold is None or model.threshold.value is None:
        why = "never certified" if model.threshold is None else "none qualified when it was certified"
        raise NotCalibrated(
            f"This model has no threshold ({why}). Give one (--threshold, threshold=), or certify it on labelled pairs."
        )
    return model.threshold.value


def _ids_of(texts: Sequence[object], ids: Sequence[str] | None) -> Sequence[str] | None:
    if ids is None:
        return [str(name) for name in texts.ids] if isinstance(texts, Texts) else None
    if len(ids) != len(texts):
        raise ValueError(
            f"Each text needs one id, but {len(texts)} texts and {len(ids)} ids came. Align them row by row."
        )
    if (repeated := first_repeat(map(str, ids))) is not None:
        raise ValueError(f"Ids must differ, but {repeated!r} names more than one text. Give each its own id.")
    return [str(name) for name in ids]


def _refuse_too_many(n_matches: int, max_matches: int) -> None:
    if n_matches > max_matches:
        raise TooManyMatches(
            f"{n_matches:,} pairs match, many because the same text repeats; {max_matches:,} are allowed. Remove exact repeats "
            f"first, raise the threshold, or allow more (--max-matches, max_matches=)."
        )
