"""Text-to-SQL: what a query is, running it, perturbed copies of the database, and equality of results."""

from rlsd_pl.verifiers.sql.verifier import SQLVerifier

__all__ = ["SQLVerifier"]
