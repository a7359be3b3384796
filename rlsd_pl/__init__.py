"""rlsd_pl: self-distilled RLVR (RLSD) and its relatives on PyTorch Lightning."""

__version__ = "0.1.0"
