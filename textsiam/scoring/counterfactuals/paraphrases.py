"""Edits that keep the meaning: synonym, spelling, number as word, contraction, courtesy, typo, order that does not matter."""

import re
from collections.abc import Iterator
from random import Random

from textsiam.scoring.counterfactuals.edits import (
    Edit,
    any_of,
    cased,
    either_way,
    other_words,
    replaced,
    swapped,
)
from textsiam.scoring.counterfactuals.word_lists import OPPOSITES, SMALL_NUMBERS, SPELLINGS, SYNONYMS, UNIT_ROWS

_SYNONYMS, _SPELLINGS = either_way(SYNONYMS), either_way(SPELLINGS)
_SYNONYM = re.compile(
    rf"{any_of(_SYNONYMS)}(?<!why till)(?! (?:else's|general|in the|potato|more than not|of philosophy|noir|strange|who)\b)",
    re.IGNORECASE,
)
_SPELLING = re.compile(rf"{any_of(_SPELLINGS)}(?!['\u2019])", re.IGNORECASE)  # not in names: Grey's
_DIGITS = re.compile(
    r"(?<=[a-z] )(?<!version )(?<!class )(?<!grade )(?<!level )(?<!chapter )(?<!part )(?<!type )(?<!is )(?<!number )(?<!in )(?<!than )(?<!at )"  # noqa: E501
    r"(?<!planet )(?<!war )(?<!War )(?<!group )(?<!lesson )(?<!digit )(?<!note )(?<!lite )(?<!iphone )(?<!windows )(?<!python )(?<!and )(?<!\bor )(?<!\bto )(?<!by )"  # noqa: E501
    r"(?<!angular )(?<!ios )(?<!android )(?P<number>[2-9]|1[0-2])"
    r"(?= (?!and\b|or\b|to\b|in\b|on\b|with\b|for\b|of\b|out\b|from\b|plus\b|lakh|crore|million|billion|then\b|than\b|when\b|free\b|into\b)[a-z]{4,})"  # noqa: E501
)
_NUMBER_WORD = re.compile(
    rf"(?<=[a-z] )(?<!the )(?<!and )(?<!\bor )(?<!\bto ){any_of(SMALL_NUMBERS.values())}(?= (?!and\b|or\b|to\b|two|three|four|five|hundred|thousand|million|billion)[a-z]{{4,}})"  # noqa: E501
)
_NUMBERS = {str(value): word for value, word in SMALL_NUMBERS.items()}
_VALUES = {word: number for number, word in _NUMBERS.items()}
_SUBJECT = "I|you|we|they"
_LONG = (
    (re.compile(r"(?<![\w'\u2019-])((?:do|does|did|is|are|was|were|should|could|would|has|have) not)(?= [a-z])(?! (?:only|i|you|we|they|he|she|it|be)\b)", re.IGNORECASE), lambda told: told[:-4] + "n't"),  # noqa: E501
    (re.compile(r"(?<![\w'\u2019-])(cannot)(?= [a-z])(?! (?:only|but)\b)", re.IGNORECASE), lambda told: told[:3] + "'t"),
    (re.compile(r"(?<![\w'\u2019-])((?:what|who|where|how) is)(?= [a-z]+ [a-z])", re.IGNORECASE), lambda told: told[:-3] + "'s"),
    (re.compile(r"(?<![\w'\u2019-])(I am)(?= (?!i\b)[a-z])"), lambda _: "I'm"),
    (re.compile(r"(?<![\w'\u2019-])((?:you|we|they) are)(?= [a-z])", re.IGNORECASE), lambda told: told[:-4] + "'re"),
)  # fmt: skip
_SHORT = (
    (re.compile(rf"(?<=\b)((?:{_SUBJECT}|people) (?:do|did|are|were|should|could|would|have))n['\u2019]t(?= [a-z])"), lambda told: told + " not"),  # noqa: E501
    (re.compile(r"(?<=\b)((?:he|she|it|that) (?:does|did|is|was|should|could|would|has))n['\u2019]t(?= [a-z])", re.IGNORECASE), lambda told: told + " not"),  # noqa: E501
    (re.compile(rf"(?<=\b)((?:{_SUBJECT}|he|she|it|people|that|who) can)['\u2019]t(?= [a-z])"), lambda told: told + "not"),
    (re.compile(r"(?<![\w'\u2019-])([Ww]hat|[Ww]here|[Ww]ho)['\u2019]s(?= (?:the|a|an|my|your|so|it)\b)"), lambda told: told + " is"),  # noqa: E501
    (re.compile(r"(?<![\w'\u2019-])(I)['\u2019]m(?= [a-z])"), lambda _: "I am"),
    (re.compile(r"(?<![\w'\u2019-])(you|we|they|You|We|They)['\u2019]re(?= [a-z])"), lambda told: told + " are"),
)  # fmt: skip
_QUESTION = re.compile(
    r"(?:how|what|why|which|who|where|when|is|are|can|do|does|did|should|will|would|could|was|were|has|have)\b[^?]*\w[^?]*\?\s*",
    re.IGNORECASE,
)
_POLITE = re.compile(r"\b(?:please|thanks|thank you|hi|hello|hey)\b", re.IGNORECASE)
_TYPO = re.compile(r"(?<![\w'\u2019@./#-])(?<!the )[a-z]{6,}(?![\w'\u2019@/#-])(?!\.\w)")
# Words of which the letters decide, and words that a swap would turn into another.
_EXACT = frozenset(
    ["without", "cannot", "neither", "nothing", "nobody", "nowhere", "hardly", "seldom", "rarely", "before", "casual", "causal", "unclear", "nuclear", "martial", "marital", "silver", "sliver", "sacred", "scared", "united", "untied", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "thirty", "hundred", "thousand", "million", "billion", "trails", "trials", "conversation", "conservation", "angles", "angels", "perverse", "preserve", "complaint", "compliant", "inflation", "quite", "quiet"]  # noqa: E501
) | {word for row in UNIT_ROWS for word in row} | set(OPPOSITES.split())  # fmt: skip
_WORD = r"(?!(?:in|on|for|of|to|at|from|and|or|that|which|is|are|if|when|as|by|with|the other|other|others|how|why|his|her|its|their|it|this|these|those|them|him|me|I|do|does|was)\b)[A-Za-z][\w+#\u2019'-]*"  # noqa: E501
_PHRASE = rf"{_WORD}(?: {_WORD}){{0,2}}"
_BETWEEN = re.compile(rf"\b(?:between|both) (?P<a>{_PHRASE}) and (?P<b>{_PHRASE})(?=\s*[?.!]?\s*$)", re.IGNORECASE)
_EITHER = re.compile(
    rf"(?:[,:] |\bbetter (?:is )?|\beither )(?P<a>{_WORD}) or (?P<b>{_WORD})(?=\s*[?.!]?\s*$)", re.IGNORECASE
)
_IF = re.compile(
    r"(?P<if>[Ii]f (?:(?!\bthen\b)[^,?.!;:\"])+), (?!then\b)(?P<main>(?:how|what|why|which|who|where|can|do|does|did|should|will|would|could|is|are)\b[^,?.!;:\"]+)(?P<end>\?)"  # noqa: E501
)

# It would stand before the name that it means.
_PRONOUN = re.compile(
    r"\b(?:it|its|they|them|their|he|him|his|she|her|this|that|these|those|then|each|such|one)\b", re.IGNORECASE
)


def synonym(text: str, draw: Random) -> Iterator[Edit]:
    """A word or a phrase of the list for its partner.

    Examples
    --------
    >>> [edit.text for edit in synonym("Does anyone sell a sofa?", Random(0))]
    ['Does anybody sell a sofa?', 'Does anyone sell a couch?']
    """
    yield from other_words(text, draw, _SYNONYM, _SYNONYMS)


def spelling(text: str, draw: Random) -> Iterator[Edit]:
    """British for American spelling, and the other way round.

    Examples
    --------
    >>> [edit.text for edit in spelling("What is your favourite color?", Random(0))]
    ['What is your favorite color?', 'What is your favourite colour?']
    """
    yield from other_words(text, draw, _SPELLING, _SPELLINGS)


def number_word(text: str, draw: Random) -> Iterator[Edit]:  # noqa: ARG001
    """A number from two to twelve before a word, in letters for digits and in digits for letters.

    Examples
    --------
    >>> [edit.text for edit in number_word("Can I bring 3 friends for two weeks?", Random(0))]
    ['Can I bring three friends for two weeks?', 'Can I bring 3 friends for 2 weeks?']
    """
    for found in _DIGITS.finditer(text):
        yield replaced(text, found.start(), found.end(), _NUMBERS[found[0]])
    for found in _NUMBER_WORD.finditer(text):
        yield replaced(text, found.start(), found.end(), _VALUES[found[0]])


def contraction(text: str, draw: Random) -> Iterator[Edit]:  # noqa: ARG001
    """``do not`` for ``don't``, ``what's`` for ``what is``, and the other way round.

    Examples
    --------
    >>> [edit.text for edit in contraction("What is the fee if I don't pay?", Random(0))]
    ["What's the fee if I don't pay?", 'What is the fee if I do not pay?']
    """
    for pattern, told in (*_LONG, *_SHORT):
        for found in pattern.finditer(text):
            yield replaced(text, found.start(), found.end(), told(found[1]))


def courtesy(text: str, draw: Random) -> Iterator[Edit]:
    """A greeting or thanks around one whole question.

    Examples
    --------
    >>> [edit.text for edit in courtesy("Where is my parcel?", Random(0))]
    ['Where is my parcel? Thank you!']
    """
    if _QUESTION.fullmatch(text) and not _POLITE.search(text):
        before, behind = (("Hi! ", ""), ("Please tell me: ", ""), ("Hello, a question: ", ""), ("", " Thanks!"), ("", " Thank you!"))[  # noqa: E501
            int(draw.random() * 5)
        ]  # fmt: skip
        yield Edit(f"{before}{text.rstrip() if behind else text}{behind}", f"\u2013 → {(before or behind).strip()}")


def typo(text: str, draw: Random) -> Iterator[Edit]:
    """Two neighbouring letters of a long word in each other's place; its first and last letter stay.

    Examples
    --------
    >>> [edit.text for edit in typo("Where is my parcel?", Random(0))]
    ['Where is my parecl?']
    """
    words = [found for found in _TYPO.finditer(text) if found[0] not in _EXACT]
    if words:
        found = words[int(draw.random() * len(words))]
        word = found[0]
        places = [at for at in range(1, len(word) - 2) if word[at] != word[at + 1]]
        if places:
            at = places[int(draw.random() * len(places))]
            yield replaced(text, found.start(), found.end(), f"{word[:at]}{word[at + 1]}{word[at]}{word[at + 2 :]}")


def order(text: str, draw: Random) -> Iterator[Edit]:  # noqa: ARG001
    """The two of "between A and B" or "A or B" in the other order; a leading "if" at the end.

    Examples
    --------
    >>> [edit.text for edit in order("If I move, can I keep my number?", Random(0))]
    ['Can I keep my number if I move?']
    """
    for pattern in (_BETWEEN, _EITHER):
        for found in pattern.finditer(text):
            if found["a"].lower() != found["b"].lower():
                yield swapped(text, found.span("a"), found.span("b"))
    whole = _IF.fullmatch(text.strip())
    if whole and not _PRONOUN.search(whole["main"]):
        main, condition = whole["main"], whole["if"]
        yield Edit(
            f"{cased(main, 'If')} {condition[:1].lower()}{condition[1:]}{whole['end']}", f"{condition} → at the end"
        )
