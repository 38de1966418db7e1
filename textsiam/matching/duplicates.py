"""Finds duplicates: encodes each distinct text once, joins the vectors, and returns the pairs of every row."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, Protocol, runtime_checkable

import numpy as np

from textsiam.arrays import Found
from textsiam.data.texts import as_list, distinct, normalise
from textsiam.encoding.encoder import Encoded, Progress
from textsiam.errors import NotCalibrated, TooManyMatches
from textsiam.matching.deciding import decided_found
from textsiam.matching.join.exact import MAX_MATCHES, SEARCHERS
from textsiam.matching.join.tiles import ordered
from textsiam.matching.matches import Matches, ids_of
from textsiam.matching.repeats import Side, Sides, crossed, equals_of, refuse_too_many, repeats_of
from textsiam.matching.rule import Rule
from textsiam.scoring.judging.reading import KnownTexts, may_keep, read_texts_in
from textsiam.scoring.siamese import Siamese

StageProgress = Callable[[str, int, int], None]  # (stage, done, total), called from time to time


@runtime_checkable
class Searched(Protocol):
    """An index: texts that are already encoded and can be searched."""

    def matches_of(
        self,
        model: Siamese,
        texts: Sequence[object],
        *,
        threshold: float | None,
        ids: Sequence[str] | None,
        max_matches: int,
        progress: Callable[[int, int], None],
    ) -> Matches:
        """The matches between these texts and the indexed ones."""


def find_duplicates(
    model: Siamese,
    texts: Iterable[object],
    *,
    against: Iterable[object] | Searched | None = None,
    threshold: float | None = None,
    prompt: str | None = None,
    ids: Sequence[str] | None = None,
    searcher: str | Callable[..., Matches] = "exact",
    max_memory_mb: int = 256,
    max_matches: int = MAX_MATCHES,
    progress: StageProgress | None = None,
) -> Matches:
    """Every pair of texts whose score reaches the threshold, and no other; or, with a judge, every pair that it does not reject.

    Parameters
    ----------
    texts
        Strings, or `Texts` with their ids. Unusable values match nothing and are logged as a warning.
    against
        Compare `texts` with these instead of with each other: texts, or a `textsiam.Index`, which does not change. An index
        uses its own prompt, its own default threshold and its own exact search.
    threshold
        Lowest score; a judge is then silent. Default: the model decides by its own accept threshold.
    prompt
        As for `Siamese.encode`.
    ids
        One per text, all different. Default: the ids of `Texts`, else row numbers.
    searcher
        A name from `SEARCHERS`, or a function with the parameters of `threshold_join`.
    max_memory_mb, max_matches
        As for `threshold_join`.
    progress
        Called with (stage, done, total) from time to time; the stages are ``encode``, ``join`` and, with a judge, ``judge``.

    Returns
    -------
    matches
        ``left`` and ``right`` are positions in `texts` (and `against`). Exact repeats are encoded once and appear as
        pairs like all others. The matches have probabilities if the model is calibrated, and decisions if it has a threshold.
        With a judge, matches are the pairs that cosine finds from the judge's candidate threshold up and the judge does not
        reject; what lies below was never read.
        In int8 the pairs are those of the certified precision, unless int8 moves a score further than on the pairs `admit` saw.

    Raises
    ------
    NotCalibrated
        If neither the call nor the model has a threshold.
    TooManyMatches
        If more than `max_matches` pairs reach it. Pairs of equal texts are counted before anything is encoded.
    ValueError
        If ids repeat, texts and ids differ in number, or the threshold is not finite.

    Examples
    --------
    >>> questions = ["How do I reset my password?", "Where is my parcel?", "How can I reset my password?"]
    >>> matches = find_duplicates(Siamese.load(), questions, threshold=0.8)
    >>> matches.left, matches.right
    (array([0]), array([2]))
    """
    if isinstance(searcher, str) and searcher not in SEARCHERS:
        raise ValueError(f"There is no searcher {searcher!r}. Use one of {', '.join(SEARCHERS)}, or a function.")
    if isinstance(against, Searched):
        _refuse_with_index(prompt, searcher)
        asked: dict[str, Any] = {"threshold": threshold, "ids": ids, "max_matches": max_matches}
        return against.matches_of(model, as_list(texts), progress=stage_of(progress, "encode"), **asked)
    rule = Rule(threshold_of(model, threshold), model.similarity, max_matches, max_memory_mb)
    texts, against = as_list(texts), None if against is None else as_list(against)
    left_ids = ids_of(texts, ids)
    sides = Sides.of(texts, against)
    if against is None:
        _refuse_many_repeats(sides.left, max_matches)
    search = SEARCHERS[searcher] if isinstance(searcher, str) else searcher
    with ExitStack() as stack:
        is_read = threshold is None and model.judge is not None
        keeps = stack if is_read and not model.rescorer and may_keep(model.encoder, sides.unique) else None
        encoded, others, known = _encoded(model, sides, prompt, progress, keeps)
        found = _joined(model, encoded, others, rule, partial(search, progress=stage_of(progress, "join")))
        if model.rescorer and not is_read:
            found = _rescored(model, found, sides, rule.threshold, prompt)
        pairs = _of_all_rows(found, sides, encoded, rule)
        how: dict[str, Any] = dict(by_score=threshold is not None, known=known, prompt=prompt)
        how |= dict(progress=stage_of(progress, "judge"))
        left, right, judgement = decided_found(model, pairs, texts, texts if against is None else against, **how)
    lost = sides.left.lost(encoded) | (sides.right.lost(others, "right_") if sides.right and others else {})
    return Matches(
        left,
        right,
        n_left=len(texts),
        n_right=None if against is None else len(against),
        left_ids=left_ids,
        right_ids=None if against is None else ids_of(against, None),
        left_texts=texts,
        right_texts=against,
        by_score=threshold is not None,
        **judgement.by_name() | lost,
    )


def find_repeats(
    texts: Iterable[object],
    *,
    normalised: bool = True,
    ids: Sequence[str] | None = None,
    max_matches: int = MAX_MATCHES,
) -> Matches:
    """Every pair of equal texts, with score 1, found without an encoder.

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
    left_ids = ids_of(texts, ids)
    side = Side.of(texts, "texts", normalise if normalised else None)
    _refuse_many_repeats(side, max_matches)
    pairs = repeats_of(side, np.arange(len(side.unique)), np.ones(len(side.unique), dtype=np.float32))
    return Matches(*pairs, n_left=len(texts), left_ids=left_ids, left_texts=texts)


def _refuse_with_index(prompt: str | None, searcher: str | Callable[..., Matches]) -> None:
    if prompt is not None or searcher != "exact":
        raise ValueError(
            "An index uses its own prompt and search, but got others. Leave prompt and searcher out, or compare with texts."
        )


def _refuse_many_repeats(side: Side, max_matches: int) -> None:
    """Raise TooManyMatches, before anything is encoded, if equal texts alone make more pairs than allowed."""
    refuse_too_many(int((side.sizes * (side.sizes - 1) // 2).sum()), max_matches)


def _encoded(
    model: Siamese, sides: Sides, prompt: str | None, progress: StageProgress | None, keeps: ExitStack | None
) -> tuple[Encoded, Encoded | None, KnownTexts | None]:
    """The distinct texts of the left side and of the right one, if any, encoded together; `keeps` also keeps their words."""
    how: dict[str, Any] = dict(prompt=prompt, progress=stage_of(progress, "encode"))
    known = None
    if keeps:
        unique, rows = distinct(sides.unique)
        known = read_texts_in(keeps, model.encoder, unique, **how)
        encoded = known.encoded[rows]
    else:
        encoded = model.encoder.embed(sides.unique, **how)
    n = len(sides.left.unique)
    return encoded[:n], None if sides.right is None else encoded[n:], known


def _of_all_rows(found: Matches, sides: Sides, encoded: Encoded, rule: Rule) -> Found:
    """The matches of all rows with the texts found and, within one set, of rows with the same text."""
    pairs = crossed(found, sides.left, sides.right or sides.left, rule.max_matches)
    if sides.right is None:
        pairs = ordered([pairs, equals_of(sides.left, encoded.embeddings, rule)])
        refuse_too_many(len(pairs[0]), rule.max_matches)
    return pairs


def _joined(
    model: Siamese, encoded: Encoded, others: Encoded | None, rule: Rule, search: Callable[..., Matches]
) -> Matches:
    """Pairs of distinct texts that reach the threshold; with a rescorer also those that may reach it."""
    vectors = encoded.embeddings, None if others is None else others.embeddings
    if model.rescorer is None:
        return search(*vectors, **rule._asdict())
    # Pairs just below the threshold may fall out when they are scored again, so more are allowed here.
    near = rule._replace(threshold=rule.threshold - model.rescorer.largest, max_matches=4 * rule.max_matches)
    try:
        return search(*vectors, **near._asdict())
    except TooManyMatches as error:
        raise TooManyMatches(f"Too many pairs near {rule.threshold:g} would be scored again. {error}") from None


def _rescored(model: Siamese, found: Matches, sides: Sides, threshold: float, prompt: str | None) -> Matches:
    """The matches of distinct texts that reach the threshold after those near it are scored again."""
    assert model.rescorer is not None  # noqa: S101  the caller checks
    others = found.right if sides.right is None else found.right + len(sides.left.unique)
    how: dict[str, Any] = {"thresholds": (model.threshold, model.reject_threshold), "own": threshold, "prompt": prompt}
    score = model.rescorer(model.compare, sides.unique, found.left, others, found.score, **how)
    return replace(found, score=score).take(np.flatnonzero(score >= np.float32(threshold)))


def stage_of(progress: StageProgress | None, name: str) -> Progress:
    """The callback for one stage, called with (done, total)."""
    return partial(progress, name) if progress else lambda *_: None


def check_threshold(threshold: float, similarity: str) -> None:
    """Raise ValueError if a threshold is not finite, or not in [-1, 1] for cosine."""
    if not isinstance(threshold, Real) or not np.isfinite(threshold):
        raise ValueError(f"A threshold is a finite score, but got {threshold!r}. Give a number.")
    if similarity == "cosine" and not -1 <= threshold <= 1:
        raise ValueError(f"A cosine lies between -1 and 1, but the threshold is {threshold:g}. Give one in that range.")


def threshold_of(model: Siamese, threshold: float | None) -> float:
    """The lowest score of a match: the threshold given, or the model's own; with a judge, its candidate threshold.

    Raises NotCalibrated if there is neither; ValueError if the value cannot be a threshold (see `check_threshold`); TypeError if
    `model` is no model: texts and model may be swapped.
    """
    if not hasattr(model, "threshold"):
        raise TypeError(f"The first argument is a model, but got a {type(model).__name__}. Load one: Siamese.load().")
    if threshold is not None:
        check_threshold(threshold, model.similarity)
        return float(threshold)
    if model.threshold is None or model.threshold.value is None:
        why = "never certified" if model.threshold is None else "none qualified when it was certified"
        raise NotCalibrated(
            f"This model has no threshold ({why}). Give one (--threshold, threshold=), or certify it on labelled pairs."
        )
    return model.judge.candidates if model.judge else model.threshold.value
