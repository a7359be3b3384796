"""Regular expressions on model text, for worker processes."""

from __future__ import annotations

import re
from typing import Any


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """``{"pattern", "text"}`` to ``{"matches"}``: does the pattern match all of the text?"""
    return {"matches": re.fullmatch(request["pattern"], request["text"]) is not None}
