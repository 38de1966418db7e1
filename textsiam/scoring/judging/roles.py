"""Who does what to whom, and what is not done: words of both texts that have exchanged their places, or a "not" its word.

"from Rome to Paris" and "from Paris to Rome", "Why do cats hate dogs?" and "Why do dogs hate cats?" hold the same words, so
embeddings hardly tell them apart. But most changes of order change nothing: a phrase that moves as a whole ("In Spain, what is
…"), words joined by "and". Two words have exchanged their places if each stands where the other stood: after the same
preposition or conjunction, if those differ (from, to); otherwise on the other side of a third word that has none of its own,
such as a verb. Prepositions and conjunctions are English; other languages have the third word alone.

Left out on purpose: relations that hold both ways (different from, married to), active and passive ("A ball broke it", "It was
broken by a ball"), and words of which a text has two.
"""

import re
from collections import Counter
from itertools import combinations
from typing import NamedTuple

from textsiam.scoring.explaining.numerals import plain
from textsiam.scoring.judging.opposites import stem

_LINKS = frozenset(
    re.findall(
        r"\w+",
        """about above across after against along although among around as at because before behind below beneath beside besides
    beyond by despite during for from if in inside into like near of off on once onto out outside over past per since so than
    that though through throughout till to toward towards under unless until unto upon via when whenever where whereas while
    with within without""",
    )
)
_JOINS = frozenset(("and", "or", "nor", "vs", "versus", "plus", "&", "+", "/", ","))
# Words that stand for no one and nothing: where they are says little.
_EMPTY = frozenset(
    re.findall(
        r"\S+",
        """a an the this that these those some any each every my your his her its our their mine yours hers ours theirs own is are
    was were be been being am do does did done have has had having can could shall should will would may might must ought how
    what which who whom whose why it there here not no n't 's just also too very really ever even please ones one it""",
    )
)
_SAME = {"me": "i", "us": "we", "him": "he", "them": "they", "myself": "i"}
_PRONOUNS = frozenset(("i", "you", "he", "she", "we", "they"))
# Relations that hold both ways.
_MUTUAL = re.compile(
    r"\b(?:differ\w*|distinct\w*|similar\w*|same|equal\w*|equivalent|identical|compar\w*|distance|far|between|marr(?:y|ie[sd]|ying)"
    r"|met|meets?|synonym\w*|related|relat(?:e|ion|ionship)|confus\w*|mix(?:ed|ing)?)\b",
    re.IGNORECASE,
)
_NOT = re.compile(r"\bnot\b", re.IGNORECASE)
_TOKEN = re.compile(r"[^\W_]+(?:['.-][^\W_]+)*|[&+/,]")
_LONGEST = 64  # words that both texts have; longer ones are no questions about who does what
_SHARED = 0.5  # of the words of either text, so that they speak of the same


class _Word(NamedTuple):
    """A word of a text as it is compared, as it is written, and the preposition or conjunction before it."""

    stem: str
    written: str
    link: str


def exchanged(first: str, second: str) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """The two words that have exchanged their places, in the order and spelling of each text; None if there are none.

    Examples
    --------
    >>> exchanged("How far into euros do dollars go?", "x"), exchanged("Is it open in May?", "In May, is it open?")
    (None, None)
    >>> exchanged("How do I get from Rome to Paris?", "How do I get from Paris to Rome?")
    (('Rome', 'Paris'), ('Paris', 'Rome'))
    """
    here, there = _words_of(first), _words_of(second)
    stems, n_words = _once(here) & _once(there), max(len(here), len(there))
    here, there = ([word for word in of if word.stem in stems] for of in (here, there))
    if [word.stem for word in here] == [word.stem for word in there] or not n_words * _SHARED <= len(here) <= _LONGEST:
        return None
    if _MUTUAL.search(first) or _MUTUAL.search(second):
        return None
    at = {word.stem: place for place, word in enumerate(there)}
    places = [at[word.stem] for word in here]
    turned = [(u, v) for u, v in combinations(range(len(here)), 2) if places[u] > places[v]]
    found = [(u, v) for u, v in turned if _has_exchanged(here, there, places, u, v)]
    if not found:
        return None
    # The same two, whichever text is first.
    u, v = min(found, key=lambda pair: (sum(pair) + sum(places[k] for k in pair), sorted(here[k].stem for k in pair)))
    return (here[u].written, here[v].written), (there[places[v]].written, there[places[u]].written)


def denied_otherwise(first: str, second: str) -> tuple[str, str] | None:
    """What each text denies and the other has without "not", as they are written; None if there is no such pair.

    Examples
    --------
    >>> denied_otherwise("It was delivered and I have not seen it", "It was not delivered and I have seen it")
    ('not seen', 'not delivered')
    """
    if not (_NOT.search(first) and _NOT.search(second)):
        return None
    (here, words), (there, others) = _denied_in(first), _denied_in(second)
    ours = [name for name in here if name in others and name not in there]
    theirs = [name for name in there if name in words and name not in here]
    return (f"not {here[ours[0]]}", f"not {there[theirs[0]]}") if ours and theirs else None


def _denied_in(text: str) -> tuple[dict[str, str], set[str]]:
    """The word behind each "not", by its stem; and the stems of all words."""
    denied, is_denied, stems = {}, False, set()
    for written in _TOKEN.findall(plain(text)):
        word = written.lower()
        if word == "not":
            is_denied = True
        elif word not in _LINKS and word not in _EMPTY and word not in _SAME.values():
            stems.add(stem(word))
            if is_denied:
                denied[stem(word)] = written
            is_denied = False
    return denied, stems


def _has_exchanged(here: list[_Word], there: list[_Word], places: list[int], u: int, v: int) -> bool:
    """Whether these two words of the first text, which stand the other way round in the second, have exchanged their places."""
    links = here[u].link, here[v].link
    if (there[places[v]].link, there[places[u]].link) != links or not _JOINS.isdisjoint(links):
        return False
    if links[0] != links[1]:
        return True
    between = range(u + 1, v)
    return any(places[v] < places[w] < places[u] and not here[w].link and not there[places[w]].link for w in between)


def _words_of(text: str) -> list[_Word]:
    words, link = [], ""
    for written in _TOKEN.findall(plain(text)):
        word = written.lower().removesuffix("'s")
        if word in _LINKS or word in _JOINS:
            link = word
        elif word not in _EMPTY:
            same = _SAME.get(word, word)
            words.append(_Word(stem(same), written, link))
            link = link if same in _PRONOUNS else ""  # "because I laugh": because belongs to both
        elif link == ",":  # a comma joins two words of a list, and not two clauses
            link = ""
    return words


def _once(words: list[_Word]) -> set[str]:
    """The stems that stand once among them."""
    return {name for name, count in Counter(word.stem for word in words).items() if count == 1}
