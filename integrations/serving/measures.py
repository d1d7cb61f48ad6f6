"""What `/metrics` tells, in the text form of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Measures:
    """The figures of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "unisim_requests", "Requests answered.", ("form", "status"), registry=self._registry
        )
        self.request_seconds = Histogram(
            "unisim_request_seconds",
            "From the head of a request to its answer.",
            ("form",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.images = Counter("unisim_images", "Images scored.", ("reward",), registry=self._registry)
        self.refused_images = Counter(
            "unisim_refused_images",
            "Images that could not be read or scored.",
            ("reward",),
            registry=self._registry,
        )
        self.batch_images = Histogram(
            "unisim_batch_images", "Images of a batch.", buckets=_SIZES, registry=self._registry
        )
        self.batch_seconds = Histogram(
            "unisim_batch_seconds", "Seconds of a batch.", buckets=_SECONDS, registry=self._registry
        )
        self.waiting_images = Gauge(
            "unisim_waiting_images", "Images that wait for their scores.", registry=self._registry
        )
        self.waiting_bytes = Gauge(
            "unisim_waiting_bytes", "Bytes of bodies that are held.", registry=self._registry
        )

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self._registry)
