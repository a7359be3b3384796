"""Judging programs: where they stand in a completion, what a task is, and what a finished run means."""

from rlsd_pl.verifiers.code.verifier import CodeVerifier

__all__ = ["CodeVerifier"]
