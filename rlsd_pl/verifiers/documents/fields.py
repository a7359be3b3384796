"""Partial credit: the weighted share of a document's fields that are right."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def weighted_share(right: Collection[str], keys: Collection[str], surplus: int, weights: Mapping[str, float]) -> float:
    """weight of ``right`` / (weight of ``keys`` + ``surplus``); a key without a weight weighs 1. 0 without keys."""
    total = sum(weights.get(key, 1.0) for key in keys) + surplus
    return sum(weights.get(key, 1.0) for key in right) / total if total else 0.0
