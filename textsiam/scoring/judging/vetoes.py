"""Stand-in."""

from collections.abc import Callable, Iterable, Sequence

from textsiam.scoring.explaining.differences import difference

Veto = Callable[[str, str], str]


def _differ(kind: str, name: str) -> Veto:
    def veto(first: str, second: str) -> str:
        only = difference(kind, first, second)
        return f"{name}: {', '.join(only.first) or '-'} | {', '.join(only.second) or '-'}" if only else ""

    return veto


CUT = "cut"
VETOES: dict[str, Veto] = {"numbers": _differ("numbers", "number"), "negation": _differ("negation", "negation")}


def vetoed(first: Sequence[str], second: Sequence[str], names: Iterable[str] = VETOES) -> list[str]:
    """The reason of each pair, "" if none; the first veto that speaks counts."""
    rules = [VETOES[name] for name in names]
    return [next(filter(None, (rule(a, b) for rule in rules)), "") for a, b in zip(first, second, strict=True)]
