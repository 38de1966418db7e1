"""The queue that all requests share: one bound, one deadline, nothing tokenised twice, and every request its own answer."""

import threading
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from textsiam import Index, Siamese
from textsiam.encoding.encoder import Encoder, RememberingEncoder
from textsiam.interfaces.service import bodies
from textsiam.interfaces.service.answers import Answers, shared
from textsiam.interfaces.service.app import create_app
from textsiam.interfaces.service.batching import Batcher
from textsiam.interfaces.service.limits import Limits, Refused
from textsiam.interfaces.service.page import scale_of
from textsiam.scoring.precision.rescoring import Rescorer

LONG = "how do i pay the order " * 200


class Watched(Encoder):
    """A real encoder that keeps what it was asked and by which thread, waits at a gate, and cannot read what is marked."""

    def __init__(self, encoder):
        self.__dict__.update(encoder.__dict__)
        self.calls, self.gate = [], threading.Event()
        self.gate.set()

    def embed(self, texts, *, prompt=None, progress=None):
        self.meet(texts)
        return super().embed(texts, prompt=prompt, progress=progress)

    def _tokens_of(self, texts, *, prompt):
        self.meet(texts)
        return super()._tokens_of(texts, prompt=prompt)

    def meet(self, texts):
        self.calls.append((threading.current_thread().name, list(texts)))
        assert self.gate.wait(30)
        if any("poison" in text for text in texts):
            raise ValueError("a text of this batch cannot be encoded")


class Slow(Watched):
    """Takes longer than a deadline, whatever it is asked."""

    def embed(self, texts, *, prompt=None, progress=None):
        time.sleep(0.3)
        return super().embed(texts, prompt=prompt, progress=progress)


class Counting:
    """A real tokenizer that counts the texts it is given."""

    def __init__(self, tokenizer):
        self.tokenizer, self.texts = tokenizer, []

    def __call__(self, texts):
        self.texts += texts
        return self.tokenizer(texts)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


@pytest.fixture
def batched(model):
    """Makes a model whose texts go through one queue, the answers it gives, and what encodes; closed at the end."""
    made = []

    def make(rescorer=None, of=model, **limits):
        encoder = Watched(model.encoder)
        bounds = Limits(**limits)
        batcher = Batcher(encoder, bounds)
        made.append((batcher, encoder))
        together = shared(replace(of, encoder=encoder, rescorer=rescorer), batcher)
        return Answers(together, None, bounds, batcher, scale=scale_of(model)), encoder

    yield make
    for batcher, encoder in made:
        encoder.gate.set()
        batcher.close()


def rescoring(model):
    """What scores every pair again, whatever its score, and what encodes for it."""
    finer = Watched(model.encoder)
    return Rescorer(finer, margin=5.0, largest=5.0), finer


def until(happened):
    for _ in range(3_000):
        if happened():
            return
        time.sleep(0.005)
    pytest.fail("it never came to that")


def answered(threads):
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_pairs_scored_again_wait_in_the_same_queue(batched, cosine):
    """The finer encoder is asked by the queue's thread alone, and its scores are those of the package."""
    rescorer, finer = rescoring(cosine)
    answers, coarse = batched(rescorer, cosine)
    asked = bodies.PairsRequest(pairs=[["How do I pay?", "How can I pay?"], ["Where is it?", "Where?"]])
    told = answers.pairs(asked)
    expected = cosine.score(*zip(*asked.pairs, strict=True))
    assert [one.score for one in told.pairs] == pytest.approx(expected.tolist(), abs=1e-5)
    assert len(finer.calls) == len(coarse.calls) == 1
    assert {name for name, _ in finer.calls + coarse.calls} == {"textsiam-encode"}
    alone = replace(cosine, rescorer=rescorer)
    assert answers.model.decide(["How do I pay?"], ["How can I pay?"]) == alone.decide(
        ["How do I pay?"], ["How can I pay?"]
    )


def test_the_second_look_keeps_the_deadline_and_the_bound(batched, model):
    """While it is busy others wait no longer than the deadline, and no more than may wait."""
    rescorer, finer = rescoring(model)
    answers, _ = batched(rescorer, deadline_s=0.5, waiting_tokens=60)
    finer.gate.clear()
    refusals = []

    def ask():
        with pytest.raises(Refused) as refused:
            answers.pairs(bodies.PairsRequest(pairs=[["How do I pay?", "How can I pay?"]]))
        refusals.append(refused.value.status)

    threads = [threading.Thread(target=ask)]
    threads[0].start()
    until(lambda: finer.calls)
    for n in range(8):
        threads.append(threading.Thread(target=ask, name=f"ask {n}"))
        threads[-1].start()
    answered(threads)
    finer.gate.set()
    assert set(refusals) == {429, 503}
    assert len(refusals) == 9


def test_texts_of_two_encoders_are_never_encoded_together(batched, model):
    """Each batch goes to the encoder that its texts were meant for."""
    rescorer, finer = rescoring(model)
    answers, coarse = batched(rescorer)
    coarse.gate.clear()
    first = threading.Thread(target=answers.model.encoder.embed, args=(["the first"],))
    first.start()
    until(lambda: coarse.calls)
    encoders = {"coarse": answers.model.encoder, "finer": answers.model.rescorer.encoder}
    threads = [
        threading.Thread(target=encoder.embed, args=([f"{name} {n}"],))
        for n in range(4)
        for name, encoder in encoders.items()
    ]
    for thread in threads:
        thread.start()
    until(lambda: answers.batcher.n_tokens == 4 * (4 + 3))
    coarse.gate.set()
    answered([first, *threads])
    for name, encoder in (("coarse", coarse), ("finer", finer)):
        texts = [text for _, texts in encoder.calls for text in texts if text != "the first"]
        assert sorted(texts) == [f"{name} {n}" for n in range(4)]


def test_tokens_wait_in_the_same_queue(batched, model):
    """Those of several requests are computed together, never with embeddings, in the queue's thread; they are the encoder's."""
    answers, encoder = batched()
    encoder.gate.clear()
    found, texts = {}, [f"How do I pay {n} times?" for n in range(4)]
    asking = answers.model.encoder

    def ask(text):
        found[text] = asking.tokens([text, " ", "Where is it?", LONG])

    threads = [threading.Thread(target=asking.embed, args=(["the first"],))]
    threads[0].start()
    until(lambda: encoder.calls)
    threads += [threading.Thread(target=ask, args=(text,)) for text in texts]
    threads += [threading.Thread(target=asking.embed, args=([f"embedded {n}"],)) for n in range(4)]
    for thread in threads[1:]:
        thread.start()
    until(lambda: answers.batcher.n_tokens == 4 * (7 + 5 + encoder.folder.max_length) + 4 * 4)
    encoder.gate.set()
    answered(threads)
    assert {name for name, _ in encoder.calls} == {"textsiam-encode"}
    assert any(sum(text in batch for text in texts) > 1 for _, batch in encoder.calls), "each was alone"
    assert not any("Where is it?" in batch and "embedded" in " ".join(batch) for _, batch in encoder.calls)
    for text in texts:
        expected = model.encoder.tokens([text, " ", "Where is it?", LONG])
        for name in ("ids", "spans", "ends", "cut", "unknown"):
            np.testing.assert_array_equal(getattr(found[text], name), getattr(expected, name))
        for name in ("vectors", "embeddings"):
            np.testing.assert_allclose(getattr(found[text], name), getattr(expected, name), atol=2e-5)
    assert len(asking.tokens([])) == 0


def test_a_judge_reads_what_the_queue_computes(batched, judged):
    """A request of many texts in parts; log-odds and decisions are those of the package."""
    answers, encoder = batched(of=judged, batch_tokens=16)
    pairs = [[f"How do I pay {n} orders?", f"How can I pay for {n} orders?"] for n in range(5)]
    told = answers.pairs(bodies.PairsRequest(pairs=[*pairs, ["Where?", " "]]))
    expected = judged.judgement(*zip(*pairs, strict=True))
    assert [one.log_odds for one in told.pairs[:-1]] == pytest.approx(expected.log_odds.tolist(), abs=2e-3)
    assert [one.decision for one in told.pairs[:-1]] == expected.decision.tolist()
    assert (told.pairs[-1].log_odds, told.pairs[-1].decision) == (None, "review")
    assert len(encoder.calls) > 3
    assert {name for name, _ in encoder.calls} == {"textsiam-encode"}


def test_the_judge_keeps_the_deadline_and_the_bound(batched, judged):
    """Its texts wait no longer than others, and no more of them; one that cannot be read spoils only its own request."""
    answers, encoder = batched(of=judged, deadline_s=0.5, waiting_tokens=60)
    encoder.gate.clear()
    refusals = []

    def ask():
        with pytest.raises(Refused) as refused:
            answers.pairs(bodies.PairsRequest(pairs=[["How do I pay?", "How can I pay?"]]))
        refusals.append(refused.value.status)

    threads = [threading.Thread(target=ask) for _ in range(9)]
    threads[0].start()
    until(lambda: encoder.calls)
    for thread in threads[1:]:
        thread.start()
    answered(threads)
    encoder.gate.set()
    assert set(refusals) == {429, 503}
    assert len(refusals) == 9
    until(lambda: not answers.batcher.n_tokens)
    with pytest.raises(ValueError, match="cannot be encoded"):
        answers.pairs(bodies.PairsRequest(pairs=[["How do I pay?", "poison"]]))
    assert answers.pairs(bodies.PairsRequest(pairs=[["How do I pay?", "How can I pay?"]])).pairs[0].log_odds is not None


def test_one_bad_request_spoils_no_batch(batched, model):
    """All stand in one batch; who sent the text that cannot be encoded is told so, the others get their vectors."""
    answers, encoder = batched()
    encoder.gate.clear()
    results = {}

    def ask(text):
        try:
            results[text] = answers.embeddings(bodies.EmbeddingsRequest(input=[text, "Where is it?"]))
        except ValueError as error:
            results[text] = error

    texts = [f"How do I pay {n} times?" for n in range(6)]
    threads = [threading.Thread(target=ask, args=("the first",))]
    threads[0].start()
    until(lambda: encoder.calls)
    threads += [threading.Thread(target=ask, args=(text,)) for text in [*texts, "poison"]]
    for thread in threads[1:]:
        thread.start()
    until(lambda: answers.batcher.n_tokens == 6 * (7 + 5) + 3 + 5)
    encoder.gate.set()
    answered(threads)
    assert any(len(batch) > 2 and "poison" in batch for _, batch in encoder.calls), "it was alone in its batch"
    assert "cannot be encoded" in str(results.pop("poison"))
    for text in texts:
        vectors = np.array([one.embedding for one in results[text].data], dtype=np.float32)
        assert vectors == pytest.approx(model.encode([text, "Where is it?"]), abs=1e-5)
    assert answers.embeddings(bodies.EmbeddingsRequest(input="And now?")).data


class Panic(BaseException):
    """As those of Rust, no Exception."""


@pytest.mark.parametrize("place", ["_taken", "_encode", "observe", "embed"])
@pytest.mark.parametrize("fault", [MemoryError, Panic])
def test_the_one_thread_outlives_whatever_happens(batched, monkeypatch, place, fault):
    """Where a batch is chosen, cut, encoded or counted: who asked is told, and the next request is answered."""
    answers, encoder = batched()

    def failing(*_, **__):
        raise fault("no more")

    was_ready = place == "observe"
    with monkeypatch.context() as patched:
        patched.setattr(encoder if place == "embed" else answers.batcher, place, failing)
        with nullcontext() if was_ready else pytest.raises((MemoryError, RuntimeError), match="no more"):
            answers.model.encoder.embed(["How do I pay?", "Where is it?"])
    assert answers.batcher.n_tokens == 0
    assert answers.embeddings(bodies.EmbeddingsRequest(input="And now?")).data


def test_nothing_is_tokenised_twice(batched, cosine):
    """Tokens used, and texts cut, come with the vectors; a text that repeats is counted as often as it was sent."""
    answers, encoder = batched(of=cosine)
    counting = encoder.tokenizer = Counting(encoder.tokenizer)
    told = answers.embeddings(bodies.EmbeddingsRequest(input=["How do I pay?", "", LONG, "How do I pay?"]))
    assert sorted(counting.texts) == sorted(["How do I pay?", LONG])
    lengths = counting.tokenizer(["How do I pay?", LONG]).lengths
    assert lengths.tolist() == [7, encoder.folder.max_length]
    assert told.usage.prompt_tokens == told.usage.total_tokens == 7 + 7 + encoder.folder.max_length
    assert told.truncated == [2]
    counting.texts.clear()
    pairs = answers.pairs(bodies.PairsRequest(pairs=[["How do I pay?", "Pay?"], ["", LONG], ["Pay?", LONG]]))
    assert sorted(counting.texts) == sorted(["How do I pay?", "Pay?", LONG])
    assert pairs.truncated == [2]


def test_lengths_come_with_every_embedding(model, batched):
    """In tokens, special ones included: of a plain, a remembering and a batched encoder alike."""
    texts = ["How do I pay?", "Where?", LONG, "Where?"]
    expected = model.encoder.tokenizer(texts).lengths.tolist()
    remembering = RememberingEncoder(model.encoder, 100)
    remembering.embed(texts[:2])
    for encoder in (model.encoder, remembering, remembering, batched(batch_tokens=16)[0].model.encoder):
        assert encoder.embed(texts).lengths.tolist() == expected
    assert model.encoder.embed([]).lengths.tolist() == []


def test_a_short_deadline_holds_for_requests_and_not_for_the_start(model, tmp_path):
    """The page's scale of another similarity, and an index's canary texts, take as long as they take."""
    slow = Siamese(Slow(model.encoder), "dot")
    with Index.create(tmp_path / "faq", slow, threshold=0.8):
        pass
    opened = []

    def open_(together):
        opened.append(Index.open(tmp_path / "faq", together))
        return opened[-1]

    create_app(slow, open_, limits=Limits(deadline_s=0.1))
    with opened[0] as index, pytest.raises(Refused, match="waited for 0.1 seconds"):
        index.model.encode(["How do I pay?"])
