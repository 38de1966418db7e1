"""Edits that say the same of others: two things in each other's place, another direction, person, place or product.

Left alone: relations that hold both ways (different from, married to), names inside longer names, and words that are names in
some of their uses only.
"""

import re
from collections.abc import Iterator
from random import Random

from textsiam.scoring.counterfactuals.edits import Edit, among, any_of, named, other_words, swapped
from textsiam.scoring.counterfactuals.word_lists import NAMES, PLACES, PRODUCTS

_THING = r"[A-Za-z][\w+#]*(?:\.\w+)?"
_STOP = r"(?=\s*[?.!,;]|\s*$| (?:in|by|on|using|with|for|at|without|via)\b)"
_NO_THING = re.compile(
    r"(?:scratch|here|there|it|them|this|that|these|those|me|you|us|him|her|one|time|home|work|day|be|get|the|a|an|my|your|other|others|end"
    r"|start|beginning|another|each|within|where|which|what|date|left|right|top|bottom|back|front|head|toe|bad|worse|good|better|i|we|they|"
    r"he|she|[a-z]+ing|most|any|all|now|zero|hero|basic|basics|advanced|birth|death|beginner|usual|ever|his|their)",
    re.IGNORECASE,
)
_FROM_TO = re.compile(rf"\bfrom (?P<a>{_THING}) to (?P<b>{_THING}){_STOP}", re.IGNORECASE)
_INTO = re.compile(
    rf"\b(?:convert|converting|converted|translate|translating|transform|turn|migrate|exchange|change) (?P<a>{_THING}) (?:in)?to (?P<b>{_THING}){_STOP}",  # noqa: E501
    re.IGNORECASE,
)
_THAN = re.compile(
    rf"(?:^|\b(?:why|how|that|if) )(?:is|are|was) (?P<a>{_THING}(?: [A-Z]\w+)?) (?:much |so |far )?(?:(?!other\b)\w+er|worse|(?:more|less) \w+) than (?P<b>{_THING}(?: [A-Z]\w+)?){_STOP}",  # noqa: E501
    re.IGNORECASE,
)
_NAME = any_of(name for group in (*NAMES, *PLACES) for name in group)
_DID = re.compile(
    rf"\b[Dd](?:id|oes) (?P<a>{_NAME}) (?!marry|meet|date|differ|resemble|border)[a-z]+ (?P<b>{_NAME}){_STOP}"
)
_MUTUAL = re.compile(r"\b(?:differ\w*|distance|far|between|long does it take|similar)\b", re.IGNORECASE)
_SIDES = re.compile(
    r"(?<=turn )(?:left|right)(?! (?:in|on|off|into|now|away)\b)|\b(?:left|right)(?= (?:hand|arm|leg|eye|ear|foot|knee|shoulder|side|hip|wrist|breast|lung|kidney|brain|lane)s?\b)"  # noqa: E501
    r"|(?<=top )(?:left|right)|(?<=bottom )(?:left|right)|(?<=on the )left\b",
    re.IGNORECASE,
)
_COMPASS = re.compile(
    r"\b(?:north|south)(?= (?:korea|india|carolina|dakota|america|pole|delhi|london|side|coast)\b)|\b(?:northern|southern|eastern|western)\b"  # noqa: E501
    r"(?! (?:union|digital|railways?|ireland|lights)\b)"
    r"|\b(?:east|west)(?= (?:coast|side|africa|bengal|germany|berlin|london|of)\b)",
    re.IGNORECASE,
)
_DIRECTIONS = {
    "left": ["right"],
    "right": ["left"],
    "north": ["south"],
    "south": ["north"],
    "east": ["west"],
    "west": ["east"],
}
_DIRECTIONS |= {"northern": ["southern"], "southern": ["northern"], "eastern": ["western"], "western": ["eastern"]}
_OTHER_NAMES, _OTHER_PLACES, _OTHER_PRODUCTS = among(NAMES), among(PLACES), among(PRODUCTS)
_ONE_NAME = re.compile(rf"(?-i:{any_of(name for group in NAMES for name in group)})(?! [A-Z0-9]|['\u2019]s)")
_IN_NAME = re.compile(r"\w\W+[A-Z][\w.]*\s$")  # a capital before it, other than at the beginning of the text
_ONE_PLACE = re.compile(
    rf"(?<!new )(?<!south )(?<!north )(?<!east )(?<!west )(?<!university of )(?<!bank of )(?<!plaster of ){any_of(_OTHER_PLACES)}"
    r"(?! (?-i:[A-Z])| (?:university|times|hilton|keys|fc|united|post|vs)\b)",
    re.IGNORECASE,
)
_ONE_PRODUCT = re.compile(
    rf"(?<!google )(?<!kali ){any_of(_OTHER_PRODUCTS)}(?! ?(?:\d|(?-i:[A-Z])|vs|s\d|script|phone|messenger|plus|note))",
    re.IGNORECASE,
)


def roles(text: str, draw: Random) -> Iterator[Edit]:  # noqa: ARG001
    """Two things in each other's place: from A to B, A into B, A better than B, did A pay B.

    Examples
    --------
    >>> [edit.text for edit in roles("How do I get from Rome to Paris?", Random(0))]
    ['How do I get from Paris to Rome?']
    """
    if _MUTUAL.search(text):
        return
    for pattern in (_FROM_TO, _INTO, _THAN, _DID):
        for found in pattern.finditer(text):
            a, b = found["a"], found["b"]
            if a.lower() != b.lower() and not any(map(_NO_THING.fullmatch, (a, b))):
                yield swapped(text, found.span("a"), found.span("b"))


def direction(text: str, draw: Random) -> Iterator[Edit]:
    """Left for right, north for south.

    Examples
    --------
    >>> [edit.text for edit in direction("Why does my left knee hurt?", Random(0))]
    ['Why does my right knee hurt?']
    """
    yield from other_words(text, draw, _SIDES, _DIRECTIONS)
    yield from other_words(text, draw, _COMPASS, _DIRECTIONS)


def name(text: str, draw: Random) -> Iterator[Edit]:
    """Another first name. A name beside another capital is a person of the world and stays.

    Examples
    --------
    >>> [edit.change for edit in name("Is Anna at home?", Random(0))]
    ['Anna → Priya']
    """
    for edit in other_words(text, draw, _ONE_NAME, _OTHER_NAMES, named):
        if not _IN_NAME.search(text[: text.index(edit.change.split(" → ")[0])]):
            yield edit


def place(text: str, draw: Random) -> Iterator[Edit]:
    """Another city or country of the same list.

    Examples
    --------
    >>> [edit.change for edit in place("Is it cold in Oslo?", Random(0))]
    ['Oslo → Bangkok']
    """
    yield from other_words(text, draw, _ONE_PLACE, _OTHER_PLACES, named)


def product(text: str, draw: Random) -> Iterator[Edit]:
    """Another product of the same class.

    Examples
    --------
    >>> [edit.change for edit in product("Can I use an iPhone?", Random(0))]
    ['iPhone → iPad']
    """
    yield from other_words(text, draw, _ONE_PRODUCT, _OTHER_PRODUCTS, named)
