"""What requests and answers hold, as OpenAPI tells it.

What the package found, as answers hold it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from textsiam.data.texts import fault_of
from textsiam.matching.matches import Matches
from textsiam.scoring.thresholds import Threshold


class Body(BaseModel):
    """A request or an answer; numbers are numbers, and strings strings."""

    model_config = ConfigDict(strict=True, protected_namespaces=())


# JSON knows no whole numbers: 5.0 is one.
WHOLE = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
Texts = Annotated[list[str], Field(min_length=1, fail_fast=True)]  # the first wrong one is told, not a million
Ids = Annotated[list[str], Field(min_length=1, fail_fast=True)]
Score = Annotated[float, Field(ge=-1e18, le=1e18)]
Decision = Literal["accept", "review", "reject"]
Positions = Annotated[
    list[int], Field(description="Positions of texts that were longer than the model reads, and were cut.")
]


class ErrorOf(Body):
    """Why a request was refused."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorBody(Body):
    """OpenAI's form of an error."""

    error: ErrorOf


class EmbeddingsRequest(Body):
    """As OpenAI's."""

    input: str | Texts
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1), WHOLE] | None = Field(None, description="Only the model's own number.")
    user: str | None = None


class EmbeddingBody(Body):
    """One text's vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str | None = Field(
        description="Numbers, or with base64 the bytes of little-endian fp32; null for an unusable text."
    )


class Usage(Body):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsBody(Body):
    """As OpenAI's; `truncated` and `set_aside` are ours."""

    object: Literal["list"] = "list"
    data: list[EmbeddingBody]
    model: str
    usage: Usage
    truncated: Positions
    set_aside: "list[FaultBody]"


class ModelBody(Body):
    """The one model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelsBody(Body):
    """As OpenAI's."""

    object: Literal["list"] = "list"
    data: list[ModelBody]


class SimilarityRequest(Body):
    """Each of the first texts is compared with each of the second."""

    first: Texts
    second: Texts


class SimilarityBody(Body):
    """One row a first text, one column a second one."""

    similarity: str
    scores: list[list[float | None]] = Field(description="Null where a text is unusable.")
    truncated_first: Positions
    truncated_second: Positions


class PairsRequest(Body):
    """Pairs of texts, which mean the same or not."""

    pairs: Annotated[
        list[Annotated[list[str], Field(min_length=2, max_length=2, fail_fast=True)]],
        Field(min_length=1, fail_fast=True),
    ]
    explain: bool = Field(False, description="Also what each word adds to the score, and what only one text says.")


class PairBody(Body):
    """One pair's answer; without a score where a text is unusable."""

    score: float | None
    probability: float | None
    decision: Decision | None
    fault: str | None = Field(None, description="Why there is no score.")
    explanation: dict[str, Any] | None = None


class ThresholdBody(Body):
    """A certified threshold: its value, null if none exists, and what was promised."""

    value: float | None
    guarantee: str


class PairsBody(Body):
    """In the order asked."""

    pairs: list[PairBody]
    accept: ThresholdBody | None
    reject: ThresholdBody | None
    truncated: Annotated[list[int], Field(description="Positions of pairs with a text that was cut.")]


class DuplicatesRequest(Body):
    """Which of these texts mean the same: with each other, or with those of the index."""

    texts: Texts
    threshold: Score | None = Field(None, description="Lowest score. Default: the model's own, or the index's.")
    against_index: bool = False


class MatchBody(Body):
    """Two texts that reach the threshold."""

    left: int = Field(description="Position among the texts.")
    right: int | str = Field(description="Position among the texts; of an index the id.")
    score: float
    probability: float | None
    decision: Decision | None
    text: str | None = Field(None, description="Of an index the text, if it keeps texts.")


class FaultBody(Body):
    """A text that could not be used."""

    position: int
    reason: str


class DuplicatesBody(Body):
    """Pairs by left, then right; clusters of positions, the keeper first, where the texts were compared with each other."""

    threshold: float
    pairs: list[MatchBody]
    clusters: list[list[int]]
    set_aside: list[FaultBody]
    truncated: Positions


class ItemBody(Body):
    """A text under an id that stays its own."""

    id: str
    text: str


class AddRequest(Body):
    """Texts for the index."""

    items: Annotated[list[ItemBody], Field(min_length=1, fail_fast=True)]


class AddBody(Body):
    """What each new text matches among those before it."""

    added: int
    in_index: int
    pairs: list[MatchBody]
    set_aside: list[FaultBody]
    truncated: Positions


class SearchRequest(Body):
    """Texts, which the index may hold already."""

    texts: Texts
    k: Annotated[int, Field(ge=1, le=1_000), WHOLE] | None = Field(
        None, description="At most so many, whatever their score."
    )
    threshold: Score | None = None


class SearchBody(Body):
    """What was found, by text."""

    threshold: float | None = Field(description="The lowest score asked for; null where only k was.")
    pairs: list[MatchBody]
    recall: float | None = Field(
        description="Null: nothing is missing. Else the search was approximate, and this its recall."
    )
    set_aside: list[FaultBody]
    truncated: Positions


class RemoveRequest(Body):
    """Ids to take out."""

    ids: Ids


class RemoveBody(Body):
    """How many there were, and how many are left."""

    removed: int
    in_index: int


class IndexBody(Body):
    """What the index holds, and the score from which on two texts match there."""

    texts: int
    clusters: int
    in_clusters: int
    threshold: float


class AuditRequest(Body):
    """The scores of all pairs that a join found, of which some are to be labelled: a random sample, spread over the scores."""

    scores: Annotated[list[Score], Field(min_length=1, fail_fast=True)]
    n: Annotated[int, Field(ge=1, le=100_000), WHOLE] = 100
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE] = 0


class AuditBody(Body):
    """Positions of the pairs to label, in the order to show them; their scores had better not be shown."""

    sample: list[int]


class LabelBody(Body):
    """What somebody said of a pair."""

    position: Annotated[int, Field(ge=0), WHOLE]
    is_same: bool


class FinishRequest(AuditRequest):
    """The same scores, n and seed, and the labels of the sample."""

    labels: Annotated[list[LabelBody], Field(fail_fast=True)]
    precision: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95


class FinishBody(Body):
    """The loosest threshold that the labels prove, null if none; and the estimated precision of all pairs, with its interval."""

    threshold: ThresholdBody
    precision: float | None
    precision_low: float | None
    precision_high: float | None
    labelled: int
    wrong: int
    not_labelled: int


class StateBody(Body):
    """Whether the service runs, and answers."""

    status: str


def matches_told(found: Matches, *, by_id: bool) -> list[MatchBody]:
    """Pairs; the right ones by id where they are an index's."""
    ids = found.id_columns()[1] if by_id else found.right.tolist()
    texts = (found.text_columns() or (None, None))[1] if by_id else None
    nothing = [None] * len(found)
    columns = zip(
        found.left.tolist(),
        ids,
        found.score.tolist(),
        nothing if found.probability is None else found.probability.tolist(),
        nothing if found.decision is None else found.decision.tolist(),
        nothing if texts is None else texts,
        strict=True,
    )
    return [
        MatchBody(left=left, right=right, score=score, probability=number(probability), decision=decision, text=text)
        for left, right, score, probability, decision, text in columns
    ]


def threshold_told(threshold: Threshold | None) -> ThresholdBody | None:
    """A threshold that may be missing."""
    return None if threshold is None else ThresholdBody(value=threshold.value, guarantee=threshold.guarantee)


def faults_told(texts: Sequence[str]) -> list[FaultBody]:
    """The unusable ones among texts."""
    return [FaultBody(position=place, reason=fault) for place, text in enumerate(texts) if (fault := fault_of(text))]


def places(flags: np.ndarray) -> list[int]:
    """Where the flags are up."""
    return np.flatnonzero(flags).tolist()


def number(value: float | None) -> float | None:
    """A number, or None where there is none: JSON knows no NaN."""
    return None if value is None or value != value else float(value)  # noqa: PLR0124  NaN
