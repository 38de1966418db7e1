"""BERT and similar architectures: how each names its tensors and settings, and how it differs. To add one, add a row."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """How one architecture names its tensors and settings, without the prefix `base`. ``{}`` stands for the layer's number."""

    base: str
    query: str = "encoder.layer.{}.attention.self.query"
    key: str = "encoder.layer.{}.attention.self.key"
    value: str = "encoder.layer.{}.attention.self.value"
    attention: str = "encoder.layer.{}.attention.output.dense"
    attention_norm: str = "encoder.layer.{}.attention.output.LayerNorm"
    up: str = "encoder.layer.{}.intermediate.dense"
    down: str = "encoder.layer.{}.output.dense"
    norm: str = "encoder.layer.{}.output.LayerNorm"
    n_layers: str = "num_hidden_layers"
    n_heads: str = "num_attention_heads"
    activation: str = "hidden_act"
    dim: str = "hidden_size"
    has_types: bool = True
    padding: int | None = -1  # the padding id, after which positions are counted; None: from config.json; -1: from 0
    distance_bias: str = ""

    def tensors(self, n_layers: int) -> list[str]:
        """The names of all tensors in the graph."""
        parts = [
            self.query, self.key, self.value, self.attention, self.attention_norm, self.up, self.down, self.norm,
        ]  # fmt: skip
        modules = ["embeddings.LayerNorm", *(part.format(layer) for layer in range(n_layers) for part in parts)]
        tables = ["embeddings.word_embeddings", "embeddings.position_embeddings"]
        tables += ["embeddings.token_type_embeddings"] if self.has_types else []
        tables += [self.distance_bias] if self.distance_bias else []
        return [f"{name}.weight" for name in (*tables, *modules)] + [f"{name}.bias" for name in modules]


_ROBERTA = Architecture("roberta", padding=None)
ARCHITECTURES = {
    "bert": Architecture("bert"),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": Architecture(
        "distilbert",
        query="transformer.layer.{}.attention.q_lin",
        key="transformer.layer.{}.attention.k_lin",
        value="transformer.layer.{}.attention.v_lin",
        attention="transformer.layer.{}.attention.out_lin",
        attention_norm="transformer.layer.{}.sa_layer_norm",
        up="transformer.layer.{}.ffn.lin1",
        down="transformer.layer.{}.ffn.lin2",
        norm="transformer.layer.{}.output_layer_norm",
        n_layers="n_layers",
        n_heads="n_heads",
        activation="activation",
        dim="dim",
        has_types=False,
    ),
    "mpnet": Architecture(
        "mpnet",
        query="encoder.layer.{}.attention.attn.q",
        key="encoder.layer.{}.attention.attn.k",
        value="encoder.layer.{}.attention.attn.v",
        attention="encoder.layer.{}.attention.attn.o",
        attention_norm="encoder.layer.{}.attention.LayerNorm",
        has_types=False,
        padding=1,
        distance_bias="encoder.relative_attention_bias",
    ),
}
