"""Why this score: what leaving out a word changes, what is shown of it, and what odd input cannot break."""

import json
import logging
import re
import shutil

import numpy as np
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from textsiam import Siamese
from textsiam.data.texts import fault_of
from textsiam.errors import UnreadableInput
from textsiam.interfaces.commands.explain import explain as command
from textsiam.samples import PAIRS
from textsiam.scoring.explaining import erasure
from textsiam.scoring.explaining.differences import differences
from textsiam.scoring.explaining.erasure import clipped, spans_of, without
from textsiam.scoring.explaining.explanation import explain
from textsiam.scoring.similarity import SIMILARITIES

FIRST = ["How do I reset my password?", "Is 5 % of it in Paris?", "refund", "如何付款？", "pay  now,\tplease!"]
SECOND = [
    "I forgot my password, how do I change it?",
    "Isn't 15 % of it in Rome?",
    "How to pay?",
    "怎么付钱",
    "Pay now!",
]
WITHIN = 2e-5  # embeddings differ by up to 1e-5 with what is encoded beside them
ODD = st.text(st.characters(codec=None)) | st.text("a .\u200b\u00a0\u3000中文ก็\ud800\U0001f600\n", max_size=12)

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command)


@app.callback()
def _root() -> None:
    """A lone command would lose its name."""


def run(*arguments, code=0, env=None, stdin=None):
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)], env=env, input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def by_hand(model, first, second):
    """Contributions of the words of the first text, one call of `score` a word."""
    score = model.score([first], [second])[0]
    rests = [without(first, span) for span in spans_of(first)]
    return [score - model.score([rest], [second])[0] if not fault_of(rest) else np.nan for rest in rests]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_contribution_is_the_score_minus_that_without_the_word(model, similarity):
    """As computed one text at a time, for every similarity, on both sides."""
    scorer = Siamese(model.encoder, similarity)
    for one, first, second in zip(explain(scorer, FIRST, SECOND), FIRST, SECOND, strict=True):
        assert one.score == pytest.approx(scorer.score([first], [second])[0], abs=WITHIN)
        for words, expected in (
            (one.words_first, by_hand(scorer, first, second)),
            (one.words_second, by_hand(scorer, second, first)),
        ):
            np.testing.assert_allclose([word.contribution for word in words], expected, atol=10 * WITHIN)


def test_swapping_the_texts_swaps_the_sides(model):
    """Words, contributions and differences."""
    for one, other in zip(explain(model, FIRST, SECOND), explain(model, SECOND, FIRST), strict=True):
        assert [word[:3] for word in one.words_first] == [word[:3] for word in other.words_second]
        np.testing.assert_allclose(values(one.words_first), values(other.words_second), atol=WITHIN)
        assert one.differences.to_json().keys() == other.differences.to_json().keys()
        assert one.score == pytest.approx(other.score, abs=WITHIN)


def values(words):
    return [word.contribution for word in words]


def test_blocks_and_neighbours_change_nothing(model, monkeypatch):
    """Pairs explained alone, together, and two texts a block agree; progress ends at the end."""
    together, seen = explain(model, FIRST, SECOND), []
    monkeypatch.setattr(erasure, "N_TEXTS_A_BLOCK", 2)
    alone = explain(model, FIRST, SECOND, progress=lambda done, of: seen.append((done, of)))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(values(one.words_first), values(other.words_first), atol=WITHIN)
        assert one.decision == other.decision
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_probability_and_decision_are_those_of_the_model(model):
    """None where the model was never calibrated or certified."""
    told = explain(model, FIRST, SECOND)
    np.testing.assert_allclose([one.probability for one in told], model.probability(FIRST, SECOND), atol=1e-3)
    assert [one.decision for one in told] == model.decide(FIRST, SECOND).tolist()
    (bare,) = explain(Siamese(model.encoder), ["a"], ["b"])
    assert (bare.probability, bare.decision) == (None, None)
    assert "probability" not in str(bare)


def test_two_strings_are_one_pair_and_columns_must_align(model):
    """A list comes back always; the method of the model says the same."""
    (one,) = explain(model, "pay now", "pay")
    assert one.to_json() == model.explain(["pay now"], ["pay"])[0].to_json()
    assert explain(model, [], []) == []
    with pytest.raises(UnreadableInput, match="1 first and 2 second"):
        explain(model, ["a"], ["a", "b"])
    with pytest.raises(UnreadableInput, match="got one string"):
        explain(model, "a", ["b"])


def test_unusable_texts_have_no_words_and_leave_the_others_alone(model, caplog):
    """Score NaN, review, the reason; logged with row numbers."""
    with caplog.at_level(logging.WARNING, "textsiam"):
        told = explain(model, ["pay now", None, " ", 3, "\ud800"], ["pay", "5 %", "a", "a", "a"])
    assert "4 rows set aside" in caplog.text
    for one in told[1:]:
        assert np.isnan(one.score)
        assert (one.decision, one.words_first, one.words_second, bool(one.differences)) == ("review", (), (), False)
        assert str(one).startswith("no score: first text ")
        assert one.to_json()["score"] is one.to_json()["probability"] is None
        json.dumps(one.to_json(), ensure_ascii=False).encode()
        one.html().encode()
    assert told[0].words_first[0].contribution > 0.1


def test_where_nothing_would_remain_there_is_no_contribution(model):
    """A text of one word, and one whose other word shows nothing."""
    (one,) = explain(model, "refund", "refund \u200b")
    assert np.isnan(one.words_first[0].contribution)
    assert np.isnan(one.words_second[0].contribution)
    assert one.words_second[1].contribution == pytest.approx(0, abs=WITHIN)
    assert one.to_json()["words_first"][0]["contribution"] is None


@pytest.mark.parametrize("side", ["right", "left"])
def test_words_beyond_the_cut_contribute_nothing(tiny_transformer, tmp_path, side, caplog):
    """Right or left, as scored word by word; the pair is logged."""
    folder = shutil.copytree(tiny_transformer("bert"), tmp_path / "model")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncation_side": side}))
    tiny = Siamese.load(folder, dtype="float32", device="cpu")
    long = " ".join(np.random.default_rng(0).choice(["how", "do", "pay", "reset", "order", "refund"], 150))
    caplog.set_level(logging.WARNING, "textsiam")
    (one,) = explain(tiny, [long], ["pay order"])
    assert "1 pairs have a text cut at 48 tokens: rows [1]" in caplog.text
    np.testing.assert_allclose(values(one.words_first), by_hand(tiny, long, "pay order"), atol=10 * WITHIN)
    far, near = (slice(50, None), slice(0, 40)) if side == "right" else (slice(0, 100), slice(110, None))
    assert np.abs(values(one.words_first)[far]).max() < 10 * WITHIN < np.abs(values(one.words_first)[near]).max()


@given(ODD)
def test_words_hold_all_that_is_no_whitespace_once(text):
    """In order, none empty; without one of them all others remain."""
    spans = spans_of(text)
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())
    assert all(start < end for start, end in spans)
    assert [start for start, _ in spans] == sorted(start for start, _ in spans)
    for start, end in spans:
        rest = without(text, (start, end))
        assert "".join(rest.split()) == "".join((text[:start] + text[end:]).split())
    assert text.startswith(clipped(text, 3))


def test_words_of_scripts_without_spaces_are_characters():
    """With their marks and punctuation; Latin words between them stay whole."""
    shown = {
        "iPhone如何付款？ now!": "iPhone 如 何 付 款？ now!",
        "ก็ดี": "ก็ ดี",
        "カード": "カ ー ド",
        "결제 방법": "결제 방법",
    }
    for text, words in shown.items():
        assert [text[start:end] for start, end in spans_of(text)] == words.split()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(ODD, ODD), max_size=3))
def test_no_text_breaks_an_explanation(model, pairs):
    """Odd Unicode, lone surrogates included: it can be printed, put in a page, and told in JSON."""
    for one in explain(model, [a for a, _ in pairs], [b for _, b in pairs]):
        assert (one.score == one.score) == (not one.fault)
        for shown in (str(one), one.html(), json.dumps(one.to_json(), ensure_ascii=False, allow_nan=False)):
            shown.encode()
        assert "\x1b" not in str(one)


def test_html_is_escaped_and_whole(model):
    """No tag of a text reaches the page, no attribute can be broken out of, nothing is loaded."""
    bad = '<script>alert("1")</script> \' onload=x &amp; <img src=//evil>'
    (one,) = explain(model, bad, "An Ordinary text <b>")
    page = one._repr_html_()
    assert set(re.findall(r"<(\w+)", page)) == {"div", "span"}
    assert "' onload" not in page
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;" in page
    assert "&amp;amp;" in page
    assert page.count("<div") == page.count("</div>")
    assert page.count("<span") == page.count("</span>") == len(one.words_first + one.words_second)


def test_str_tells_words_numbers_and_differences_without_control_characters(model):
    """One line each; an escape sequence in a text is no command to the terminal."""
    (one,) = explain(model, "Is \x1b[31m5 %\nfine?", "Is 15 % fine?")
    lines = str(one).splitlines()
    assert len(lines) == 4
    assert re.search(r"fine\?\([+-]\d\.\d\d\)", lines[1])
    assert lines[3].startswith("  differ  numbers: ")
    assert "\x1b" not in str(one)


def test_the_command_explains_two_texts():
    """Each word with its sign, the differences, probability and decision; thresholds on standard error."""
    result = run("What is the fee for sending €100 abroad?", "What is the fee for sending €1000 abroad?")
    assert re.search(r"score 0\.\d{4}, probability 0\.\d\d, review \(number: €100 \| €1000\)", result.stdout)
    assert re.search(r"fee\(\+0\.\d\d\)", result.stdout)
    assert "numbers: €100 ≠ €1000" in result.stdout
    assert "accept at or above 1." in result.stderr
    assert "reject below -0." in result.stderr


def test_the_command_colours_words_where_a_terminal_shows_it():
    """Green and red instead of numbers; escape sequences of the text itself are not passed on."""
    coloured = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": ""}
    shown = run("Refund \x1b[35m of 5 % [bold]", "Refund of 15 %", env=coloured).stdout
    assert "\x1b[1;32mRefund" in shown
    assert "\x1b[35m" not in shown
    assert "[bold]" in shown
    assert "(+0." not in shown


def test_the_command_answers_in_json(model):
    """One object: what Python says, for the pair and for the first pairs of a file."""
    answer = json.loads(run("pay now", "pay", "--json", "--dtype", "float32").stdout)
    (one,) = explain(model, "pay now", "pay")
    assert answer["explanations"][0]["score"] == pytest.approx(one.score, abs=WITHIN)
    assert answer["explanations"][0]["words_second"] == one.to_json()["words_second"]
    assert answer["summary"]["accept_at"] == model.threshold.value
    answer = json.loads(run("--pairs", PAIRS, "--top", 3, "--json").stdout)
    assert [pair["row"] for pair in answer["explanations"]] == [1, 2, 3]
    assert (answer["summary"]["pairs"], answer["summary"]["explained"]) == (80, 3)


def test_the_command_writes_a_page(tmp_path):
    """One file, whole, escaped, that loads nothing; what was not explained is said."""
    source = tmp_path / "pairs.csv"
    source.write_text("text_a,text_b\n<script>a</script> b,a b\n,x\nc d,d\ne,f\n", encoding="utf-8")
    result = run("--pairs", source, "--html", tmp_path / "why.html", "--top", 2)
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert page.count("score ") >= 2
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert "1 row set aside" in result.stderr
    assert "explained 2 pairs of 3; --top changes it" in result.stderr
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "either two texts or --pairs"),
        (["a"], "either two texts or --pairs"),
        (["a", "b", "--pairs", "x.csv"], "either two texts or --pairs"),
        (["", "b"], "first text empty"),
        (["--pairs", "missing.csv"], "missing.csv"),
        (["a", "b", "--html", "-"], "file of its own"),
        (["a", "b", "--html", "missing/why.html"], "does not exist"),
        (["a", "b", "--prompt", "nix"], "no prompt named 'nix'"),
    ],
)
def test_bad_usage_is_told_in_one_line(arguments, told):
    """Exit code 2, no traceback, nothing on standard output."""
    result = run(*arguments, code=2)
    assert told in " ".join(re.sub("[│╭╰─╮╯]", " ", result.stderr).split())
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_the_page_never_destroys_its_source(tmp_path):
    """--html on the file of pairs is refused before anything is read."""
    source = tmp_path / "pairs.csv"
    source.write_text("text_a,text_b\na,b\n", encoding="utf-8")
    run("--pairs", source, "--html", source, code=2)
    assert source.read_text(encoding="utf-8") == "text_a,text_b\na,b\n"


def test_differences_stand_in_the_explanation(model):
    """As `differences` gives them."""
    for one, first, second in zip(explain(model, FIRST, SECOND), FIRST, SECOND, strict=True):
        assert one.differences == differences(first, second)
