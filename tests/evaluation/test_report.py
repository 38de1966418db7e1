"""The report: one page that asks nobody for anything, escapes every text, and looks the same each time."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

from textsiam import Pairs, Siamese, Threshold, read_pairs
from textsiam.errors import MissingExtra
from textsiam.evaluation.evaluation import evaluate
from textsiam.evaluation.figures import COLOURS, FIGURES, draw
from textsiam.evaluation.report import render
from textsiam.samples import PAIRS

QUICK = dict(n_draws=20, n_worst=2)
EVIL = [
    ("<script>alert(1)</script> how do I pay", "</script><img src=x onerror=alert(1)> how do I pay"),
    ('" onmouseover="alert(1)', "{{ 7 * 7 }} {% raw %} & <b>bold</b>"),
    ("]]></svg><style>@import url(http://evil)</style>", "javascript:alert(1) http://evil.example/x"),
]


class Page(HTMLParser):
    """What a browser would see of a page: its elements and attributes, and ids that repeat."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.ids, self.open, self.styles, self.text = [], [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.styles if self.open and self.open[-1] == "style" else self.text).append(data)


@pytest.fixture(scope="module")
def evil(model):
    """Pairs that would run, load or break something if a page did not escape them."""
    samples = read_pairs(PAIRS).take(range(0, 80, 3))
    first, second = zip(*EVIL, strict=True)
    labels = [*samples.labels.tolist(), 0, 1, 0]
    return Pairs([*samples.first, *first], [*samples.second, *second], labels=labels)


@pytest.fixture(scope="module")
def pages(model, evil):
    """Pages of every kind: all there is, a bare encoder, no threshold, grades, one label, one pair."""
    bare = Siamese(model.encoder)
    grades = Pairs(evil.first, evil.second, scores=np.linspace(0, 5, len(evil)))
    made = {
        "full": evaluate(model, evil, baseline=model, on="<i>data</i> & more", n_draws=20, n_worst=30),
        "bare": evaluate(bare, evil, **QUICK),
        "none_qualifies": evaluate(replace(bare, threshold=Threshold(None)), evil, **QUICK),
        "graded": evaluate(model, grades, baseline=bare, **QUICK),
        "same": evaluate(model, evil.take(np.flatnonzero(evil.labels == 1)), **QUICK),
        "different": evaluate(model, evil.take(np.flatnonzero(evil.labels == 0)), **QUICK),
        "one_pair": evaluate(model, evil.take([0]), n_draws=3, n_worst=1),
    }
    return {name: (evaluation, render(evaluation)) for name, evaluation in made.items()}


KINDS = ["full", "bare", "none_qualifies", "graded", "same", "different", "one_pair"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_asks_nobody_for_anything(pages, kind):
    """No script, no frame, no stylesheet, no image; no address in any attribute or style; and a policy that forbids it all."""
    page = Page(pages[kind][1])
    assert not {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "img",
        "base",
        "form",
        "a",
        "image",
        "foreignobject",
    } & set(page.tags)
    policy = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in {"src", "srcset", "action", "data", "poster", "background"}
        if name in {"href", "xlink:href"}:
            assert value.startswith("#")
        if "http" in value:
            assert name.startswith("xmlns") or name in {"title", "aria-label"}
        if name == "style":
            assert "url(" not in value
    styles = "".join(page.styles)
    assert "url(" not in styles
    assert "@import" not in styles


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_sound(pages, kind):
    """Elements close in order, ids differ, references find their id, headings step down, figures and regions have a name."""
    page = Page(pages[kind][1])
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    for tag, name, value in page.attributes:
        if name in {"aria-labelledby", "xlink:href"}:
            assert value.removeprefix("#") in page.ids, (tag, name, value)
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    named = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len(named) == len(draw(pages[kind][0]))
    assert all(named)


def test_texts_come_out_as_they_went_in(pages):
    """Escaped in the markup, whole in what is read; a template in a text is no template."""
    evaluation, text = pages["full"]
    page = Page(text)
    read = " ".join("".join(page.text).split())
    assert {pair.row for pair in evaluation.worst} >= {28, 29, 30}
    for pair in EVIL:
        for one in pair:
            assert one in read
            assert one == one.replace("<", "").replace('"', "") or one not in text
    assert "49 {% raw %}" not in read
    assert "<i>data</i> & more" in read


def test_what_a_page_shows_first(pages):
    """What, on what, decision shares; then metrics with intervals, figures, slices, worst, suspects, provenance."""
    evaluation, text = pages["full"]
    page = Page(text)
    read = " ".join("".join(page.text).split())
    places = [
        read.index(name)
        for name in ("Summary", "Metrics", "Figures", "Slices", "Worst pairs", "Suspected labels", "Provenance")
    ]
    assert places == sorted(places)
    for name in ("average_precision", "f1"):
        figure = evaluation[name]
        assert f"[{figure.low:.3f}, {figure.high:.3f}]" in read
    assert evaluation.measured_on["model"]["fingerprint"] in read
    assert f"{100 * evaluation['share_accept'].value:.1f}" in read


@pytest.mark.parametrize(
    ("kind", "titles"),
    [
        ("full", ["Precision and recall", "Scores", "Reliability"]),
        ("bare", ["Precision and recall", "Scores"]),
        ("graded", ["Scores by grade"]),
        ("same", ["Scores", "Reliability"]),
    ],
)
def test_figures_are_those_that_can_be_drawn(pages, kind, titles):
    """No curve of one label, no reliability without a calibrator, no histogram of grades."""
    assert [drawing.title for drawing in draw(pages[kind][0])] == titles
    assert len(FIGURES) == 4


def test_figures_follow_the_pages_colours(pages):
    """No colour of their own: placeholders became variables, each of which the page defines for light and for dark."""
    evaluation, text = pages["full"]
    for drawing in draw(evaluation):
        assert not any(placeholder in drawing.svg for placeholder in COLOURS.values())
        colours = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{3,6})", drawing.svg))
        assert colours <= {"#000000", "#ffffff"} or not colours
        assert "clip-path" not in drawing.svg
        assert "metadata" not in drawing.svg
    for name in COLOURS:
        assert text.count(f"--{name}: #") >= 2, name


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_stand_out_from_the_paper(pages):
    """WCAG's contrast of at least 4.5 for everything that is written, on paper and on panels, light and dark."""
    themes = re.findall(r":root \{([^}]*)\}", pages["full"][1])[:2]
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        for ground in ("paper", "panel"):
            for name in ("ink", "muted", "accept", "reject", "model", "same", "other"):
                light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_the_same_evaluation_gives_the_same_page(pages, monkeypatch):
    """Byte for byte: no date, no random id; matplotlib's settings stay the user's, and pyplot is not imported."""
    import matplotlib as mpl

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # its import would fail
    before = mpl.rcParams.copy()
    evaluation, text = pages["full"]
    assert render(evaluation) == text
    assert mpl.rcParams.copy() == before


def test_a_report_is_written_whole_or_not_at_all(pages, tmp_path):
    """A folder that does not exist is an error, and nothing is left behind."""
    evaluation, text = pages["one_pair"]
    evaluation.report(tmp_path / "out.html")
    assert (tmp_path / "out.html").read_text(encoding="utf-8") == text
    with pytest.raises(OSError, match="nowhere"):
        evaluation.report(tmp_path / "nowhere" / "out.html")
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_without_the_extra_the_install_line_is_told(pages, monkeypatch):
    """Whichever of the two is missing."""
    monkeypatch.setattr("textsiam.evaluation.report.find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(MissingExtra, match=r"pip install 'textsiam\[report\]'"):
        render(pages["one_pair"][0])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'textsiam\[report\]'"):
        draw(pages["one_pair"][0])


def test_suspects_beyond_what_is_shown_are_counted(model):
    """No silent cap: the page says how many there are."""
    n = 70
    pairs = Pairs(
        [f"how do I pay {k}" for k in range(n)] * 2, [f"refund {k}" for k in range(n)] * 2, labels=[0] * n + [1] * n
    )
    evaluation = evaluate(model, pairs, n_draws=2, n_worst=0)
    assert len(evaluation.suspects) >= 2 * n
    assert f"{len(evaluation.suspects):,} suspected labels; the first 60 are shown" in " ".join(
        "".join(Page(render(evaluation)).text).split()
    )
