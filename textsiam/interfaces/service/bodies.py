"""The bodies of requests and answers, as the OpenAPI schema describes them; and results converted to these bodies.

Left out: computing an answer (`answers`) and the routes (`app`).
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from textsiam.data.texts import fault_of
from textsiam.matching.matches import Matches
from textsiam.scoring.scorer import Judgement
from textsiam.scoring.thresholds import Threshold


class Body(BaseModel):
    """A request or an answer. Types are strict: a string is not converted to a number."""

    model_config = ConfigDict(strict=True, protected_namespaces=())


# JSON has no integers, so 5.0 is accepted as 5.
WHOLE = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]  # reports the first wrong text, not a million
Ids = Annotated[list[str], Field(min_length=1, fail_fast=True)]
Score = Annotated[float, Field(ge=-1e18, le=1e18)]
Decision = Literal["accept", "review", "reject"]
Decided = Annotated[
    bool,
    Field(
        description="Whether the model decided, with a judge by its log-odds: it accepts these pairs or leaves them for review; "
        "of the k closest it may also reject some. False: they reach a threshold of scores, and a judge is silent."
    ),
]
Positions = Annotated[
    list[int], Field(description="Positions of texts that were cut because they are longer than the model reads.")
]


class ErrorOf(Body):
    """The reason why a request was refused."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorBody(Body):
    """An error in OpenAI's form."""

    error: ErrorOf


class EmbeddingsRequest(Body):
    """Texts to embed, in OpenAI's form."""

    input: str | Texts
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        None, description="Must be the model's own dimension."
    )
    user: str | None = None


class EmbeddingBody(Body):
    """One text's vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str | None = Field(
        description="Numbers; with base64 the bytes of little-endian fp32; null for an unusable text."
    )


class Usage(Body):
    """How many tokens the model read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsBody(Body):
    """Embeddings in OpenAI's form; `truncated` and `set_aside` are additions."""

    object: Literal["list"] = "list"
    data: list[EmbeddingBody]
    model: str
    usage: Usage
    truncated: Positions
    set_aside: "list[FaultBody]"


class ModelBody(Body):
    """The model that the service uses."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelsBody(Body):
    """The list of models, in OpenAI's form."""

    object: Literal["list"] = "list"
    data: list[ModelBody]


class SimilarityRequest(Body):
    """Texts to compare: each of the first with each of the second."""

    first: Texts
    second: Texts


class SimilarityBody(Body):
    """Scores: one row per first text, one column per second text."""

    similarity: str
    scores: list[list[float | None]] = Field(description="Null if a text is unusable.")
    truncated_first: Positions
    truncated_second: Positions


class PairsRequest(Body):
    """Pairs of texts to score and decide."""

    pairs: Annotated[
        list[Annotated[list[str], Field(min_length=2, max_length=2, fail_fast=True)]],
        Field(min_length=1, fail_fast=True),
    ]
    explain: bool = Field(False, description="Also return what each word adds to the score, and how the texts differ.")


class JudgementBody(Body):
    """What the model says of a pair; null where it says nothing."""

    log_odds: float | None = Field(
        None, description="Those of the judge that both texts mean the same, if it read them."
    )
    probability: float | None
    decision: Decision | None = Field(description="Accepted texts mean the same; a person decides those for review.")
    reason: str | None = Field(
        None,
        description="Why it is for review although what decides reaches the threshold: a kind, and what only the first or only "
        "the second text has, such as 'number: 2 | 3' or 'date: Mon | Tuesday'; a dash for nothing.",
    )


class PairBody(JudgementBody):
    """The answer for one pair; the score is null if a text is unusable."""

    score: float | None = Field(description="The similarity of the embeddings.")
    fault: str | None = Field(None, description="Why there is no score.")
    explanation: dict[str, Any] | None = None


class ThresholdBody(Body):
    """A certified threshold: its value (null if no threshold qualifies) and its guarantee."""

    value: float | None
    scale: str | None = Field(
        description="What it cuts: scores of this similarity, or the log-odds of the judge; null for the scores of the request."
    )
    guarantee: str


class PairsBody(Body):
    """The answers in the order of the pairs, and the model's thresholds."""

    pairs: list[PairBody]
    accept: ThresholdBody | None
    reject: ThresholdBody | None
    truncated: Annotated[list[int], Field(description="Positions of pairs with a text that was cut.")]


class DuplicatesRequest(Body):
    """Texts to find duplicates of, among each other or in the index."""

    texts: Texts
    threshold: Score | None = Field(
        None, description="Lowest score; a judge is then silent. Default: the model or the index decides."
    )
    against_index: bool = False


class MatchBody(JudgementBody):
    """Two texts that match."""

    left: int = Field(description="Position among the texts.")
    right: int | str = Field(description="Position among the texts; for an index, the id.")
    score: float = Field(description="The similarity of the embeddings.")
    text: str | None = Field(None, description="For an index, its text if it keeps texts.")


class FaultBody(Body):
    """A text that could not be used."""

    position: int
    reason: str


class DuplicatesBody(Body):
    """Pairs ordered by left, then right; and, unless compared with the index, clusters of positions, keeper first."""

    threshold: float = Field(
        description="The lowest score that was searched; with a judge, from where on it read pairs."
    )
    decided: Decided
    pairs: list[MatchBody]
    clusters: list[list[int]] = Field(description="If the model decided, of accepted pairs only.")
    set_aside: list[FaultBody]
    truncated: Positions


class ItemBody(Body):
    """A text with its id, which must not change."""

    id: str
    text: str


class AddRequest(Body):
    """Texts to add to the index."""

    items: Annotated[list[ItemBody], Field(min_length=1, fail_fast=True)]


class AddBody(Body):
    """The matches of each new text with earlier texts of the index."""

    added: int
    in_index: int
    decided: Decided
    pairs: list[MatchBody]
    set_aside: list[FaultBody]
    truncated: Positions


class SearchRequest(Body):
    """Texts to search in the index; it may hold them already."""

    texts: Texts
    k: Annotated[int, Field(ge=1, le=1_000), WHOLE] | None = Field(
        None, description="The k closest texts; without a threshold, of any score."
    )
    threshold: Score | None = Field(
        None, description="Lowest score; a judge is then silent. Default: the index decides."
    )


class SearchBody(Body):
    """The matches of each text."""

    threshold: float | None = Field(description="The lowest score that was searched; null if the request has only k.")
    decided: Decided
    pairs: list[MatchBody]
    recall: float | None = Field(
        description="Null: no match is missing. Otherwise the search was approximate, with this recall."
    )
    set_aside: list[FaultBody]
    truncated: Positions


class RemoveRequest(Body):
    """Ids to remove from the index."""

    ids: Ids


class RemoveBody(Body):
    """How many texts were removed, and how many are left."""

    removed: int
    in_index: int


class IndexBody(Body):
    """The size of the index, and the lowest score at which two texts match."""

    texts: int
    clusters: int
    in_clusters: int
    threshold: float


class AuditRequest(Body):
    """The scores of all pairs that a join found. The audit draws a random sample to label, spread over the scores."""

    scores: Annotated[list[Score], Field(min_length=1, fail_fast=True)]
    n: Annotated[int, Field(ge=1, le=100_000), WHOLE] = 100
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE] = 0


class AuditBody(Body):
    """Positions of the pairs to label, in the order to show them. Do not show their scores to the labeller."""

    sample: list[int]


class LabelBody(Body):
    """The label of a pair."""

    position: Annotated[int, Field(ge=0), WHOLE]
    is_same: bool


class FinishRequest(AuditRequest):
    """The same scores, n and seed, and the labels of the sample."""

    labels: Annotated[list[LabelBody], Field(fail_fast=True)]
    precision: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95


class FinishBody(Body):
    """The loosest threshold that the labels certify (null if none), and the precision of all pairs with its interval."""

    threshold: ThresholdBody
    precision: float | None
    precision_low: float | None
    precision_high: float | None
    labelled: int
    wrong: int
    not_labelled: int


class StateBody(Body):
    """The state of the service."""

    status: str


def match_bodies(found: Matches, *, by_id: bool) -> list[MatchBody]:
    """Matches as bodies; with `by_id`, the right side is an index and has ids."""
    ids = found.id_columns()[1] if by_id else found.right.tolist()
    texts = (found.text_columns() or (None, None))[1] if by_id else None
    judged = judgements(Judgement(*(getattr(found, name) for name in Judgement._fields[:-1])))
    columns = zip(found.left.tolist(), ids, found.score.tolist(), texts or [None] * len(found), judged, strict=True)
    return [MatchBody(left=left, right=right, score=score, text=text, **of) for left, right, score, text, of in columns]


def judgements(judged: Judgement) -> Iterator[dict[str, Any]]:
    """The fields of `JudgementBody` for each pair."""
    log_odds = [None] * len(judged.score) if judged.log_odds is None else judged.log_odds.tolist()
    for odds, probability, decision, reason in zip(log_odds, *judged.columns(), strict=True):
        yield {
            "log_odds": number(odds),
            "probability": number(probability),
            "decision": decision,
            "reason": reason,
        }


def threshold_body(threshold: Threshold | None) -> ThresholdBody | None:
    """A threshold as a body; None if there is none."""
    if threshold is None:
        return None
    return ThresholdBody(value=threshold.value, scale=threshold.similarity, guarantee=threshold.guarantee)


def fault_bodies(texts: Sequence[str]) -> list[FaultBody]:
    """The unusable texts, with reasons."""
    return [FaultBody(position=place, reason=fault) for place, text in enumerate(texts) if (fault := fault_of(text))]


def places(flags: np.ndarray) -> list[int]:
    """The positions of the flags that are set."""
    return np.flatnonzero(flags).tolist()


def number(value: float | None) -> float | None:
    """The number, or None for NaN, which JSON does not have."""
    return None if value is None or value != value else float(value)  # noqa: PLR0124  NaN
