"""Words that are opposites, of which each text has only its own: buy and sell, before and after, turn on and turn off.

English. Opposites by a prefix (legal and illegal) are found in `textsiam.scoring.judging.denials`, opposite times of the day in
`textsiam.scoring.judging.dates`. Left out on purpose: words that are opposites in few of their uses (light and dark), roles that
a text may name from either side (teacher and pupil, ask and answer), and hard and easy, for "Is it hard?" asks "Is it easy?".
"""

import re
from itertools import pairwise

from textsiam.scoring.explaining.numerals import plain

# A line holds the words of one side | those of the other. Regular endings are cut off, irregular forms are written out.
_PAIRS = """
buy bought purchase | sell sold
lend lent | borrow
win won winner | lose lost loser
gain | lose lost
profit | loss
send sent | receive
give gave given | take took taken
arrive arrival | depart departure
enter entry entrance | exit leave left
open | close shut
start begin began begun beginning | stop end finish quit
push | pull
pass | fail
hire | fire
accept approve | decline reject refuse deny
allow permit | forbid forbade forbidden ban prohibit block
love like | hate dislike
increase raise | decrease reduce lower
rise rose risen grow grew grown | fall fell fallen shrink shrank
improve | worsen deteriorate
add | remove delete
upload | download
import | export
upgrade | downgrade
encrypt | decrypt
encode | decode
compress | decompress extract
build built create | destroy demolish
attack | defend
freeze froze frozen | melt thaw
heat warm | cool
hide hid hidden | show shown reveal
keep kept | discard
save | spend spent waste
deposit | withdraw withdrew withdrawal
employer | employee
boyfriend | girlfriend
brother | sister
father dad | mother mom mum
son | daughter
uncle | aunt
king | queen
boy | girl
man men male | woman women female
gay homosexual lesbian | straight heterosexual
old older oldest | young younger youngest
old older oldest | new newer newest
big bigger biggest large larger largest | small smaller smallest little
long longer longest | short shorter shortest
tall taller tallest | short shorter shortest
high higher highest | low lower lowest
good better best | bad worse worst
cheap cheaper cheapest inexpensive | expensive costly
fast faster fastest quick quickly | slow slower slowest slowly
early earlier earliest | late later latest
hot hotter hottest | cold colder coldest
strong stronger strongest | weak weaker weakest
rich richer richest wealthy | poor poorer poorest
thick thicker thickest | thin thinner thinnest
wide wider widest | narrow narrower
deep deeper deepest | shallow
heavy heavier heaviest | lightweight lighter lightest
full | empty
wet | dry
clean cleaner | dirty
public | private
single | married
alive living | dead
true | false
positive | negative
benefit advantage pro pros | drawback disadvantage con cons
advantage benefit | risk
success succeed | failure fail
major | minor
maximum max most | minimum min least
more | less fewer
many | few
always | never
everyone everybody | nobody
north northern | south southern
east eastern | west western
left | right
top | bottom
inside indoor indoors | outside outdoor outdoors
upper | lower
before | after
above | below
domestic | international foreign
online | offline
input | output
internal | external
ascending | descending
horizontal | vertical
wholesale | retail
temporary | permanent
voluntary | compulsory mandatory
optional | mandatory required
manual manually | automatic automatically
beginner | advanced expert
buyer | seller
husband | wife
on | off
up | down
""".strip()
_IN = frozenset(("in", "into"))  # opposites behind the same word: "log in", "log out"
_TOKEN = re.compile(r"[^\W\d_]+")
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|es|s|e|d)$")

# (line of the table, or the word before a particle; side) → the word as it is written.
_Sides = dict[tuple[int | str, int], str]


def opposed(first: str, second: str) -> tuple[str, str] | None:
    """The first pair of opposites of which each text has one side only, as they are written; None if there is none.

    Examples
    --------
    >>> opposed("Where can I buy used books?", "Where can I sell used books?"), opposed("Buy or sell?", "Sell?")
    (('buy', 'sell'), None)
    """
    here, there = _sides_of(first), _sides_of(second)
    for name, side in sorted(here.keys() | there.keys(), key=str):
        ours, others = (name, side), (name, 1 - side)
        if ours in here and others in there and others not in here and ours not in there:
            return here[ours], there[others]
    return None


def stem(word: str) -> str:
    """The word in lower case without a regular ending, by rule: passed, passing and pass are pas, logging and log are log."""
    word = _ENDING.sub("", _ENDING.sub("", word.lower()))
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word  # noqa: PLR2004  "add" stays


def _table() -> dict[str, list[tuple[int, int]]]:
    """Stem → the lines of the table where it stands, and on which side."""
    found: dict[str, list[tuple[int, int]]] = {}
    for line, pair in enumerate(_PAIRS.splitlines()):
        for side, words in enumerate(pair.split("|")):
            for word in words.split():
                found.setdefault(stem(word), []).append((line, side))
    return found


_AT = _table()


def _sides_of(text: str) -> _Sides:
    words = _TOKEN.findall(plain(text))
    found: _Sides = {}
    for word in words:
        for at in _AT.get(stem(word), ()):
            found.setdefault(at, word)
    for before, word in pairwise(words):
        if word.lower() in _IN or word.lower() == "out":
            found.setdefault((stem(before), int(word.lower() == "out")), f"{before} {word}")
    return found
