"""Which words of two texts are partners, which clash, have none or moved; by hand, and by laws that hold for all texts."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textsiam import Pairs, Siamese
from textsiam.data.texts import fault_of
from textsiam.encoding.encoder import Encoder
from textsiam.scoring.explaining import partners
from textsiam.scoring.explaining.explanation import explain
from textsiam.scoring.explaining.partners import Couple, Partners, partners_of
from textsiam.scoring.judging.judge import Judge
from textsiam.scoring.similarity import SIMILARITIES

FIRST = [
    "How do I enable dark mode tonight?",
    "Is it sunny in Paris?",
    "Convert euros into points",
    "Pay 15 euros",
    "How do I lock my account?",
    "Where is my package?",
]
SECOND = [
    "How do I disable dark mode?",
    "Is it sunny in Rome?",
    "Convert points into euros",
    "Pay 50 euros, please",
    "How do I lock my account with my phone?",
    "where's my parcel",
]
ODD = st.text("how do pay 15 not n't. \u200b\u3000中文ก็\U0001f600\n", max_size=30) | st.text(max_size=12)


@pytest.fixture(scope="module")
def model(cosine):
    """Decides by cosine alone: what is tested here does not depend on what decides."""
    return cosine


def of(model, first, second, **options):
    (found,) = partners_of(model, Pairs([first], [second]), **options)
    return found


def judged(model, rarity):
    """The model with a judge that adds nothing to cosine and says how rare words are."""
    one = np.ones(1, np.float32)
    judge = Judge(model.encoder.fingerprint, 8.0, -6.0, 0.0, rarity, ("inversions",), one, one, None, {})
    return Siamese(model.encoder, judge=judge)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("How do I enable dark mode?", "How do I disable dark mode?", "clash: enable | disable"),
        ("Is it sunny in Paris?", "Is it sunny in Rome?", "clash: Paris | Rome"),
        ("Should I eat before a run?", "Should I eat after a run?", "clash: before | after"),
        ("What can I buy for 15 dollars?", "What can I buy for $50?", "clash: 15 | $50; only in the first: dollars"),
        ("Is the GB enough? 64 GB", "Is the MB enough? 64 MB", "clash: GB | MB"),
        ("What is the tax in Ireland?", "What is the tax in Iceland?", "clash: Ireland | Iceland"),
        ("Is it open?", "Is it open tonight?", "only in the second: tonight"),
        ("My payment was accepted", "My payment was not accepted", "only in the second: not"),
        ("Why can I log in?", "Why can't I log in?", "clash: can | can't"),
        ("Convert euros into points", "Convert points into euros", "moved: euros, points"),
        ("Did Anna and Tom get married?", "Did Tom and Anna get married?", "moved: Anna, Tom"),
        ("Why do cats hate dogs?", "Why do dogs hate cats?", "moved: cats, dogs"),
        ("How do I purchase a ticket?", "how do I buy a ticket", ""),
        ("How do I reset my password?", "How do I reset my pasword", ""),
        ("I do not understand it", "I don’t understand it", ""),
        ("Can five people share it?", "(Can 5 people share it)", ""),
        ("It costs $5", "It costs 5", ""),
        ("It costs $5", "It costs €5", "clash: $5 | €5"),
        ("Can I pay? 😀", "Can't I pay? 😀", "clash: Can | Can't"),
        ("Pay now", "Pay now", ""),
        ("?!", "- + -", ""),
    ],
)
def test_what_is_said_of_a_pair(model, first, second, said):
    """What differs in the same place clashes, what is added is alone, what changes place moved; other spellings are silent."""
    assert str(of(model, first, second)) == said


def test_swapping_the_texts_swaps_the_sides(model):
    """To the last digit of the same vectors, whichever words tie."""
    found = partners_of(model, Pairs(FIRST + SECOND, SECOND + FIRST))
    for here, there in zip(found[: len(FIRST)], found[len(FIRST) :], strict=True):
        assert (here.alone_first, here.alone_second) == (there.alone_second, there.alone_first)
        for name in ("pairs", "clashes", "moved"):
            swapped = {Couple(b, a, cosine) for a, b, cosine in getattr(there, name)}
            assert set(getattr(here, name)) == swapped


def test_pairs_hold_each_word_with_its_cosine(model):
    """Without its punctuation, in order; equal texts are their own partners."""
    found = of(model, "Pay, please: now!", "Pay, please: now!")
    assert [(a, b) for a, b, _ in found.pairs] == [("Pay", "Pay"), ("please", "please"), ("now", "now")]
    assert [cosine for _, _, cosine in found.pairs] == pytest.approx([1, 1, 1])
    for one, first, second in zip(partners_of(model, Pairs(FIRST, SECOND)), FIRST, SECOND, strict=True):
        for n, text in enumerate((first, second)):
            assert {couple[n] for couple in one.pairs} == {word.strip(",.?") for word in text.split()}
        assert all(-1 <= cosine <= 1 for _, _, cosine in one.pairs)


def test_word_pieces_are_joined(model):
    """A word of several tokens is one word, and its vector their mean."""
    text = "Use pseudopseudohypoparathyroidism, now"
    tokens = model.encoder.tokens([text, "pay"])
    pieces = tokens.spans[tokens.of(0)]
    own = tokens.vectors[tokens.of(0)][(pieces[:, 0] >= text.index("pseudo")) & (pieces[:, 1] <= text.index(","))]
    assert len(own) > 3
    mean = (own / np.linalg.norm(own, axis=1, keepdims=True)).mean(0)
    other = tokens.vectors[tokens.of(1)][1]
    expected = mean @ other / np.linalg.norm(mean) / np.linalg.norm(other)
    (couple,) = [one for one in of(model, text, "pay").pairs if one.first.startswith("pseudo")]
    assert couple == ("pseudopseudohypoparathyroidism", "pay", pytest.approx(expected, abs=1e-4))


def test_scripts_without_spaces_are_read_by_character(model):
    """As the words of the explanation are."""
    found = of(model, "如何付款？", "如何退款？")
    assert {couple.first for couple in found.pairs} == set("如何付款")


def test_common_words_are_named_only_without_a_judge(model):
    """A judge knows how rare words are; its rarity of a vocabulary's last word holds for ids beyond it."""
    first, second = "Is the shop open", "Is this shop open quickly"
    assert str(of(model, first, second)) == "clash: the | this; only in the second: quickly"
    tokens, rarity = model.encoder.tokens(["quickly"]), np.full(30_522, 1.0, dtype=np.float32)
    assert str(of(judged(model, rarity), first, second)) == ""
    rarity[tokens.ids[tokens.words]] = 8
    assert str(of(judged(model, rarity), first, second)) == "only in the second: quickly"
    assert str(of(judged(model, rarity[:1]), first, second)) == ""


def test_rules_name_common_words(model):
    """A negation, a number or a unit is never too common."""
    rare = judged(model, np.zeros(30_522, dtype=np.float32))
    assert str(of(rare, "Pay with a card", "Pay without a card")) == "clash: with | without"
    assert str(of(rare, "Wait 5 days", "Wait 5 weeks")) == "clash: days | weeks"


def test_what_comes_beside_a_pair_changes_nothing(model, monkeypatch):
    """Alone, together, in blocks of one pair; each distinct text is encoded once."""
    together = partners_of(model, Pairs(FIRST, SECOND))
    monkeypatch.setattr(partners, "N_PAIRS", 1)
    assert list(map(str, partners_of(model, Pairs(FIRST, SECOND)))) == list(map(str, together))
    monkeypatch.undo()
    calls = []
    tokens = Encoder.tokens
    monkeypatch.setattr(
        Encoder, "tokens", lambda self, texts, **options: calls.append(texts) or tokens(self, texts, **options)
    )
    partners_of(model, Pairs(["a", "a", "b"], ["b", "c", "a"]))
    assert calls == [["a", "b", "c"]]
    assert partners_of(model, Pairs([], [])) == []


def test_prompts_have_no_words(tiny_transformer, tmp_path):
    """The words of the prompt change vectors and are no partners."""
    tiny = Siamese.load(tiny_transformer("bert"), dtype="float32", device="cpu")
    plain, prompted = (of(tiny, "pay my order", "pay the order", prompt=prompt) for prompt in (None, "how do i reset "))
    assert [couple[:2] for couple in plain.pairs] != []
    assert {word for couple in prompted.pairs for word in couple[:2]} == {"pay", "my", "order", "the"}
    assert [couple.cosine for couple in plain.pairs] != [couple.cosine for couple in prompted.pairs]


@pytest.mark.parametrize("side", ["right", "left"])
def test_words_beyond_the_cut_are_left_out(tiny_transformer, tmp_path, side):
    """They were not read: neither they nor the same words of the other text are alone."""
    folder = shutil.copytree(tiny_transformer("bert"), tmp_path / "model")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncation_side": side}))
    tiny = Siamese.load(folder, dtype="float32", device="cpu")
    words = ["how"] * 60
    unread = "refund reset"
    long = " ".join([*words, unread] if side == "right" else [unread, *words])
    found = of(tiny, long, "how reset")
    assert len([couple for couple in found.pairs if couple.first == "how"]) <= 48
    assert not {"refund", "reset"} & {couple.first for couple in found.pairs}
    assert "reset" not in found.alone_second
    assert found.alone_first == ()


@pytest.mark.parametrize("similarity", sorted(set(SIMILARITIES) - {"cosine"}))
def test_other_similarities_have_none(model, similarity):
    """Cosines of words say nothing of such a score; the explanation is whole all the same."""
    (one,) = explain(Siamese(model.encoder, similarity), "pay now", "pay")
    assert one.partners is one.to_json()["partners"] is None
    assert "alone" not in str(one)


def test_a_backend_without_token_vectors_has_none(model):
    """Nothing fails."""

    class Own:
        """The same backend, with embeddings alone."""

        precision, token_budget, padding_budget = "float32", 512, 32

        def embed(self, ids, mask):
            return model.encoder.backend.embed(ids, mask)

        def embed_many(self, batches):
            return model.encoder.backend.embed_many(batches)

    (one,) = explain(Siamese(Encoder(model.encoder.folder, Own())), "pay now", "pay")
    assert one.partners is None
    assert one.words_first


def test_they_stand_in_the_explanation(model):
    """In text, page and JSON; a pair with an unusable text has none."""
    one, none, same = explain(model, [FIRST[0], " ", "pay"], [SECOND[0], "pay", "pay"])
    said = "clash: enable | disable; only in the first: tonight"
    assert one.partners == of(model, FIRST[0], SECOND[0])
    assert str(one).endswith(f"  differ  {said}")
    assert said in one.html()
    told = one.to_json()["partners"]
    assert told["text"] == said
    assert [(couple["first"], couple["second"]) for couple in told["clashes"]] == [("enable", "disable")]
    assert (told["alone_first"], told["alone_second"], told["moved"]) == (["tonight"], [], [])
    assert len(told["pairs"]) == 7
    assert none.partners is none.to_json()["partners"] is None
    assert same.to_json()["partners"]["text"] == ""
    assert "differ" not in str(same)


def test_a_moved_word_in_two_forms_is_shown_in_both():
    """And a word that is said twice is shown once."""
    one = Couple("taught", "teach", 0.9)
    assert str(Partners((), (), (), (), (one, Couple("Plato", "plato", 1.0), one))) == "moved: taught | teach, Plato"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD, ODD)
def test_no_text_breaks_them(model, first, second):
    """Sides swap, equal texts have nothing to say, each word is in one sort at most, and all can be told in JSON."""
    if fault_of(first) or fault_of(second):
        return
    here, there, same, _ = partners_of(model, Pairs([first, second, first, second], [second, first, first, second]))
    assert (here.alone_first, here.alone_second) == (there.alone_second, there.alone_first)
    assert sorted((a, b) for a, b, _ in here.clashes) == sorted((a, b) for b, a, _ in there.clashes)
    assert not same
    json.dumps(here.to_json(), allow_nan=False, ensure_ascii=False).encode()
