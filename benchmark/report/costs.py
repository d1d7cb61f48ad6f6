"""What models cost, in words: the efficiency table of every format."""

from __future__ import annotations

from ..costs.efficiency import EfficiencyReport, ModelEfficiency

KINDS = ("images", "texts", "comparisons")
"""What throughput is told of; attributes of `ModelEfficiency`."""

HEADS = ("Parameters", *(f"{kind.capitalize()} a second" for kind in KINDS), "Peak memory")


def describe(model: ModelEfficiency) -> tuple[str, ...]:
    """Return what stands below `HEADS`."""
    ratios = [getattr(model, kind) for kind in KINDS]
    return (
        f"{model.parameters / 1e6:,.1f} M",
        *("–" if ratio is None else f"{ratio:.2f}×" for ratio in ratios),
        f"{model.peak_memory_bytes / 2**20:,.0f} MiB",
    )


def note(report: EfficiencyReport) -> str:
    """Return how it was measured."""
    return (
        f"Throughput as a ratio to {report.baseline} in the same run, from pixels and words to scores: batches of"
        f" {report.batch_size}, medians of {report.rounds} rounds in which all models take turns. A comparison is of"
        " two images with a third. Memory is the peak of a process that does nothing else, or of its accelerator."
        f" {report.environment.device}, threads: {report.threads}, {report.environment.platform}."
    )
