"""The service's metrics, for Prometheus."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made: dict[str, Any] = {"registry": self.registry, "namespace": "textsiam"}
        self.requests = Counter("requests", "Requests answered", ["path", "status"], **made)
        self.seconds = Histogram(
            "request_seconds", "Seconds from request to answer", ["path"], buckets=_SECONDS, **made
        )
        self.in_flight = Gauge("requests_in_flight", "Requests in progress", **made)
        self.texts = Counter("texts_encoded", "Texts encoded", **made)
        self.tokens = Counter("tokens_encoded", "Tokens encoded, estimated", **made)
        self.batches = Histogram(
            "batch_texts", "Texts encoded together", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512), **made
        )
        self.encoding = Counter("encoding_seconds", "Seconds spent encoding", **made)
        self.waiting = Gauge("tokens_waiting", "Tokens waiting to be encoded, estimated", **made)

    def of_batch(self, n_texts: int, n_tokens: int, seconds: float) -> None:
        """Count one encoded batch."""
        self.texts.inc(n_texts)
        self.tokens.inc(n_tokens)
        self.batches.observe(n_texts)
        self.encoding.inc(seconds)

    def of_request(self, path: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def told(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)
