"""Pairs of a text and an edit of it, by rule: edits that change the meaning (label 0) and edits that keep it (label 1).

Both come from the same texts in equal number, so that how few words differ decides nothing. Edit `CHANGES` or `KEPT` to add,
mend or drop a kind. The rules are English; texts without English function words are left alone and counted.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from textsiam.data.pairs import Pairs
from textsiam.data.texts import Texts, as_list, fault_of, normalise
from textsiam.scoring.counterfactuals import contrasts, exchanges, paraphrases, quantities
from textsiam.scoring.counterfactuals.edits import Edit, Rule
from textsiam.scoring.counterfactuals.word_lists import FUNCTION_WORDS
from textsiam.scoring.explaining.numerals import words_of

CHANGES: dict[str, Rule] = {
    "number": quantities.number,
    "unit": quantities.unit,
    "date": quantities.date,
    "version": quantities.version,
    "negation": contrasts.negation,
    "inclusion": contrasts.inclusion,
    "time order": contrasts.time_order,
    "comparison": contrasts.comparison,
    "opposite": contrasts.opposite,
    "roles": exchanges.roles,
    "direction": exchanges.direction,
    "name": exchanges.name,
    "place": exchanges.place,
    "product": exchanges.product,
}
KEPT: dict[str, Rule] = {
    "synonym": paraphrases.synonym,
    "spelling": paraphrases.spelling,
    "number word": paraphrases.number_word,
    "contraction": paraphrases.contraction,
    "courtesy": paraphrases.courtesy,
    "typo": paraphrases.typo,
    "order": paraphrases.order,
}
KINDS = CHANGES | KEPT


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """Texts beside edits of them.

    Parameters
    ----------
    pairs
        First the text, second its edit; labels 0 where the edit changes the meaning, 1 where it keeps it. ``pairs.rows`` are
        the rows of the texts.
    kinds, changes
        For each pair a key of `KINDS`, and what was changed, such as ``24 → 38``.
    asked
        The kinds that were asked for.
    n_texts, n_english
        How many distinct texts there were, and how many of them have English function words; the others have no edits.

    Examples
    --------
    >>> made = counterfactuals(["Can I send 20 parcels on Monday?"])
    >>> len(made), len(made.absent())
    (2, 19)
    """

    pairs: Pairs
    kinds: Sequence[str]
    changes: Sequence[str]
    asked: Sequence[str]
    n_texts: int
    n_english: int

    @property
    def rows(self) -> Sequence[int]:
        """The row of each pair's text, from 1."""
        return self.pairs.rows

    def counts(self) -> dict[str, int]:
        """How many pairs there are of each kind that has any, in the order of `KINDS`."""
        found = Counter(self.kinds)
        return {kind: found[kind] for kind in self.asked if found[kind]}

    def absent(self) -> list[str]:
        """The kinds that were asked for and have no pair."""
        found = set(self.kinds)
        return [kind for kind in self.asked if kind not in found]

    def columns(self) -> dict[str, Any]:
        """The columns that `read_pairs` reads as labelled pairs."""
        labels = [] if self.pairs.labels is None else [int(label) for label in self.pairs.labels]
        texts = {"text_a": list(self.pairs.first), "text_b": list(self.pairs.second)}
        return texts | {"label": labels, "kind": list(self.kinds), "changed": list(self.changes)}

    def __len__(self) -> int:
        return len(self.pairs)


def counterfactuals(
    texts: Iterable[object], *, kinds: Iterable[str] | None = None, n_per_text: int = 1, seed: int = 0
) -> Counterfactuals:
    """Edits of texts by rule: from each text up to ``n_per_text`` that change its meaning and as many that keep it.

    A text of which one of the two cannot be made has none. Rare kinds come first: of the kinds that a text allows, those with
    fewest edits so far are taken. The same texts and seed give the same edits, in whatever order the texts stand; of texts that
    are equal after normalisation one is edited. Unusable texts are in ``pairs.set_aside``. About 1 ms per question.

    Parameters
    ----------
    texts
        What `read_texts` gives, or strings.
    kinds
        Keys of `KINDS`: at least one that changes and one that keeps. Default: all.
    n_per_text
        At most this many edits of each label from one text, each of another kind.
    seed
        Chooses among the edits.

    Raises
    ------
    ValueError
        If a kind is unknown, the kinds are all of one label, or ``n_per_text`` is not positive.

    Examples
    --------
    >>> made = counterfactuals(["What is the fee for 24 tickets?"], kinds=["number", "contraction"])
    >>> for edit, label, change in zip(made.pairs.second, made.pairs.labels, made.changes):
    ...     print(label, edit, "|", change)
    0 What is the fee for 38 tickets? | 24 → 38
    1 What's the fee for 24 tickets? | What is → What's
    """
    asked = _checked(kinds, n_per_text)
    read = texts if isinstance(texts, Texts) else Pairs.usable(every := as_list(texts), every)
    sources = list(read) if isinstance(read, Texts) else list(read.first)
    at = _distinct(sources, seed)
    english = [place for place in at if is_english(sources[place])]
    counts: Counter[str] = Counter()
    made: dict[int, list[tuple[int, str, Edit]]] = {}
    for place in english:
        made[place] = _of_text(sources[place], asked, n_per_text, seed, counts)
    edits = [(place, *edit) for place in sorted(made) for edit in made[place]]
    pairs = Pairs(
        [sources[place] for place, *_ in edits],
        [edit.text for *_, edit in edits],
        labels=[label for _, label, _, _ in edits],
        rows=[read.rows[place] for place, *_ in edits],
        set_aside=read.set_aside,
    )
    kinds_made = [kind for _, _, kind, _ in edits]
    return Counterfactuals(pairs, kinds_made, [edit.change for *_, edit in edits], asked, len(at), len(english))


def is_english(text: str) -> bool:
    """Whether a text has an English function word.

    Examples
    --------
    >>> is_english("Where is it?"), is_english("Wo finde ich das?")
    (True, False)
    """
    return not FUNCTION_WORDS.isdisjoint(words_of(text))


def _checked(kinds: Iterable[str] | None, n_per_text: int) -> list[str]:
    """The kinds in the order of the table."""
    asked = list(KINDS) if kinds is None else [kinds] if isinstance(kinds, str) else list(kinds)
    if unknown := [kind for kind in asked if kind not in KINDS]:
        raise ValueError(f"There is no kind {unknown[0]!r}. Use some of {', '.join(KINDS)}.")
    if CHANGES.keys().isdisjoint(asked) or KEPT.keys().isdisjoint(asked):
        raise ValueError(
            f"Edits that change a meaning and edits that keep it come from the same text, but got "
            f"{', '.join(asked) or 'no kind'}. "
            f"Name at least one of {', '.join(CHANGES)}, and one of {', '.join(KEPT)}."
        )
    if n_per_text < 1:
        raise ValueError(f"n_per_text is at least 1, but got {n_per_text}. Leave it out for one edit of each label.")
    return [kind for kind in KINDS if kind in asked]


def _distinct(texts: Sequence[str], seed: int) -> list[int]:
    """The places of the texts, each once after normalisation, in an order that only the texts and the seed decide."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        name = normalise(text)
        if name not in first or text < texts[first[name]]:
            first[name] = place
    return sorted(first.values(), key=lambda place: _hashed(seed, texts[place]))


def _hashed(seed: int, *of: str) -> int:
    told = "\0".join((str(seed), *of)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big")


def _of_text(text: str, asked: Sequence[str], n: int, seed: int, counts: Counter[str]) -> list[tuple[int, str, Edit]]:
    """The label, kind and edit of as many edits that change as keep; none if the text allows only one of the two."""
    known = {normalise(text)}
    found: tuple[list[tuple[str, Edit]], list[tuple[str, Edit]]] = ([], [])
    ranked = sorted(asked, key=lambda kind: (counts[kind], _hashed(seed, kind, text)))
    for kind in ranked:
        label = int(kind in KEPT)
        if len(found[label]) < n and (edit := _edit(kind, text, seed, known)):
            found[label].append((kind, edit))
            known.add(normalise(edit.text))
    each = min(map(len, found))
    made = [(label, kind, edit) for label in (0, 1) for kind, edit in found[label][:each]]
    counts.update(kind for _, kind, _ in made)
    return made


def _edit(kind: str, text: str, seed: int, known: set[str]) -> Edit | None:
    """One edit of a kind that is usable and unlike all known texts; None if the rule makes none."""
    draw = Random(_hashed(seed, kind, text))  # noqa: S311
    edits = [edit for edit in KINDS[kind](text, draw) if normalise(edit.text) not in known and not fault_of(edit.text)]
    return edits[int(draw.random() * len(edits))] if edits else None
