"""torchmetrics of this field."""

from rlsd_pl.metrics.pass_at_k import PassAtK

__all__ = ["PassAtK"]
