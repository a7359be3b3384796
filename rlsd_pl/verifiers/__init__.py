"""Verifiers: (completion text, problem) -> :class:`~rlsd_pl.types.Verdict`.

The names load on first use: worker processes import this package too, and must not pay for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlsd_pl.verifiers.base import Verifier as Verifier
    from rlsd_pl.verifiers.choice import ChoiceVerifier as ChoiceVerifier
    from rlsd_pl.verifiers.code import CodeVerifier as CodeVerifier
    from rlsd_pl.verifiers.composite import GatedVerifier as GatedVerifier
    from rlsd_pl.verifiers.composite import WeightedVerifier as WeightedVerifier
    from rlsd_pl.verifiers.documents.tool_calls import ToolCallVerifier as ToolCallVerifier
    from rlsd_pl.verifiers.documents.verifier import JSONAnswerVerifier as JSONAnswerVerifier
    from rlsd_pl.verifiers.documents.verifier import JSONSchemaVerifier as JSONSchemaVerifier
    from rlsd_pl.verifiers.format import RegexVerifier as RegexVerifier
    from rlsd_pl.verifiers.format import ThinkAnswerVerifier as ThinkAnswerVerifier
    from rlsd_pl.verifiers.function import FunctionVerifier as FunctionVerifier
    from rlsd_pl.verifiers.math.verifier import MathVerifier as MathVerifier
    from rlsd_pl.verifiers.numeric import NumericVerifier as NumericVerifier
    from rlsd_pl.verifiers.reasoning_gym import ReasoningGymVerifier as ReasoningGymVerifier
    from rlsd_pl.verifiers.remote import RemoteVerifier as RemoteVerifier
    from rlsd_pl.verifiers.sql.verifier import SQLVerifier as SQLVerifier

_MODULE_OF = {
    "ChoiceVerifier": "choice",
    "CodeVerifier": "code",
    "FunctionVerifier": "function",
    "GatedVerifier": "composite",
    "JSONAnswerVerifier": "documents.verifier",
    "JSONSchemaVerifier": "documents.verifier",
    "MathVerifier": "math.verifier",
    "NumericVerifier": "numeric",
    "ReasoningGymVerifier": "reasoning_gym",
    "RegexVerifier": "format",
    "RemoteVerifier": "remote",
    "SQLVerifier": "sql.verifier",
    "ThinkAnswerVerifier": "format",
    "ToolCallVerifier": "documents.tool_calls",
    "Verifier": "base",
    "WeightedVerifier": "composite",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
