"""Grids of runs and what they show together. The parent process stays light: it starts processes and reads CSVs."""

from rlsd_pl.commands.sweep.command import sweep

__all__ = ["sweep"]
