"""The model card: README.md of a saved folder, in the form that the Hub reads."""

from textsiam.scoring.thresholds import Threshold

_CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-similarity
- feature-extraction
- textsiam
---

# {name}

A sentence encoder: texts to embeddings of {dim} dimensions, at most {max_length} tokens. Load it with textsiam, which
also reads its calibration and thresholds from `textsiam.json`, or with sentence-transformers.

```python
from textsiam import Siamese

model = Siamese.load("{name}")
model.decide(["How do I pay?"], ["How can I pay?"])
```

## Threshold and evidence

- accept at or above: {accept}
- reject below: {reject}

A threshold holds for pairs like those it was chosen on. Other data has other odds: certify it there.
"""


def model_card(name: str, dim: int, max_length: int, accept: Threshold | None, reject: Threshold | None) -> str:
    """The card's text.

    Examples
    --------
    >>> "accept at or above: never certified" in model_card("mine", 384, 256, None, None)
    True
    """
    return _CARD.format(
        name=name,
        dim=dim,
        max_length=max_length,
        accept=accept or "never certified",
        reject=reject or "never certified",
    )
