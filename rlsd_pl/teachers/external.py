"""A teacher that is another model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rlsd_pl.errors import SetupError
from rlsd_pl.models import Dtype
from rlsd_pl.policy import Policy
from rlsd_pl.teachers.base import Teacher


class ExternalTeacher(Teacher):
    """Another model over the same token ids, never trained and never in the checkpoint.

    It is given the student's prompts, so the student's chat template has to suit it. Output layers are padded to
    different sizes within a family: rows beyond the student's are left out. Each process holds it whole.

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
            SetupError: if its token ids mean something else than the policy's.
        """
        model = type(policy).from_pretrained(self.name_or_path, dtype=self.dtype)
        mine, theirs = policy.logits.size, model.logits.size
        if policy.tokenizer.get_vocab() != model.tokenizer.get_vocab() or theirs < mine:
            raise SetupError(
                f"Got teacher.name_or_path={self.name_or_path}, whose tokens are not the policy's ({theirs} logits, "
                f"the policy has {mine}). Expected a model with the same vocabulary, because the teacher scores the "
                "sampled token ids. Set it to a model of the policy's family."
            )
        model.logits.cut(mine)
        self._model = [model.requires_grad_(False).eval()]

    def model(self, policy: Policy) -> Policy:
        if not self._model:
            raise RuntimeError("The external teacher has no weights yet; call bind(policy) first.")
        return self._model[0]

    @contextmanager
    def scoring(self, policy: Policy) -> Iterator[Policy]:
        yield self.model(policy).to(policy.device)
