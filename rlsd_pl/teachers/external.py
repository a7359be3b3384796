"""A teacher that is another model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rlsd_pl.models import Dtype
from rlsd_pl.policy import Policy
from rlsd_pl.teachers.base import Teacher


class ExternalTeacher(Teacher):
    """Another model over the same token ids, never trained and never in the checkpoint.

    It is given the student's prompts, so the student's chat template has to suit it. Each process holds it whole.

    Args:
        name_or_path: a Hugging Face folder or hub id; ``lab`` is the embedded base policy.
        dtype: of its weights; ``auto`` keeps what it was published in.
    """

    def __init__(self, name_or_path: str, dtype: Dtype = "auto") -> None:
        super().__init__()
        self.name_or_path = name_or_path
        self.dtype: Dtype = dtype
        # In a list, because a module's own modules go into its checkpoint.
        self._model: list[Policy] = []

    def bind(self, policy: Policy) -> None:
        """Load the model.

        Raises:
            ValueError: if its token ids mean something else than the policy's.
        """
        model = type(policy).from_pretrained(self.name_or_path, dtype=self.dtype)
        for what, mine, theirs in (
            ("tokens", _vocabulary(policy), _vocabulary(model)),
            ("logits", policy.causal_lm.config.vocab_size, model.causal_lm.config.vocab_size),
            ("EOS ids", sorted(policy.stop_ids), sorted(model.stop_ids)),
        ):
            if mine != theirs:
                shown = f": {theirs} instead of {mine}" if what != "tokens" else ""
                raise ValueError(
                    f"Got teacher.name_or_path={self.name_or_path}, whose {what} are not the policy's{shown}. "
                    "Expected a model with the same vocabulary, because the teacher scores the sampled token ids. "
                    "Set it to a model of the policy's family."
                )
        self._model = [model.requires_grad_(False).eval()]

    def model(self, policy: Policy) -> Policy:
        if not self._model:
            raise RuntimeError("The external teacher has no weights yet; call bind(policy) first.")
        return self._model[0]

    @contextmanager
    def scoring(self, policy: Policy) -> Iterator[Policy]:
        yield self.model(policy).to(policy.device)


def _vocabulary(policy: Policy) -> dict[str, Any]:
    return policy.tokenizer.get_vocab()
