"""The typed containers that travel through one iteration.

Shapes: P prompts, G completions per prompt (a *group*), B = P * G, T completion tokens, V vocabulary.
``None`` means *absent*; an empty string or tensor never does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Flag, StrEnum, auto
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeVar, cast

import torch
from torch import Tensor

Message = Mapping[str, str]
"""One chat turn: ``{"role": "user" | "system" | "assistant", "content": text}``."""

Span = tuple[int, int]
"""Half-open character range ``[start, end)`` of a completion's text."""


class Status(StrEnum):
    """Outcome of one verification. ``ERROR`` says that the *verifier* failed; it is never a score."""

    PASS = "pass"
    FAIL = "fail"
    INVALID = "invalid"
    LIMIT = "limit"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Problem:
    """One verifiable problem.

    Attributes:
        id: unique and stable within its task, for example ``"gsm8k/17"``.
        messages: the chat that the student sees. Never holds privileged text.
        answer: the final answer that the verifier compares with; ``None`` where the verifier needs none (unit tests).
        privileged: named privileged texts that contexts may show to the teacher, for example ``solution``.
        metadata: what the verifier needs beyond the answer (tests, schema, database path), and free labels.
    """

    id: str
    messages: Sequence[Message]
    answer: str | None = None
    privileged: Mapping[str, str] = field(default_factory=dict[str, str])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def prompt(self) -> str:
        """Content of the last user turn."""
        return next(m["content"] for m in reversed(self.messages) if m["role"] == "user")


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion, as the engine produced it.

    Attributes:
        token_ids: the T sampled ids, EOS included. These are scored; the text is never re-encoded.
        logprobs: T log-probs (nats) of the sampled ids under the sampling distribution (temperature applied).
        text: the decoded ids without special tokens; for verifiers and eyes only.
        truncated: True if the token limit ended it (no EOS).
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one completion.

    Attributes:
        reward: in [0, 1]; 1 for ``pass``, else 0. Values between stand for partial credit, of a ``fail`` as a rule:
            the share of tests passed, of fields or rows that are right, or of a composite's weights.
        status: one of the five outcomes; ``error`` masks the sample out of the loss.
        detail: a short reason for people; length-capped by the verifier.
        metrics: extra numbers per completion that are averaged and logged, for example ``hollow``.
        spans: named character ranges of the text, for example ``decisive`` (the lab knows them); objectives read them
            as token masks, by the names that ``Verifier.span_names`` lists.
        answer: the final answer as the verifier extracted it, judged right or not; ``None`` where it found
            none or where its kind of task has none.
    """

    reward: float
    status: Status
    detail: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    spans: Mapping[str, Sequence[Span]] = field(default_factory=dict[str, Sequence[Span]])
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A completion of a problem with its verdict."""

    problem: Problem
    completion: Completion
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn.

    Attributes:
        max_tokens: limit on T per completion, EOS included.
        completions: G, completions per prompt.
        temperature: divides the logits, in sampling *and* in scoring; 0 means greedy.
        top_p, top_k: truncation of the sampling distribution; 1 and 0 switch it off. Truncated sampling biases the
            importance ratio, so training with it warns.
    """

    max_tokens: int
    completions: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    @property
    def truncated(self) -> bool:
        return not self.greedy and (self.top_p < 1.0 or self.top_k > 0)


class Signal(Flag):
    """What an objective reads of a batch beyond rewards; everything else is not computed."""

    NONE = 0
    TEACHER = auto()
    """Log-probs of the sampled tokens under the teacher and its context: ``RolloutBatch.teacher``."""
    CONTRAST = auto()
    """The same under rejected contexts: ``RolloutBatch.contrast``."""
    DISTRIBUTION = auto()
    """The teacher's prompts, for a divergence over the vocabulary: ``RolloutBatch.distillation``."""
    REFERENCE = auto()
    """Log-probs under the reference policy: ``RolloutBatch.reference``."""
    ENTROPY = auto()
    """Entropy of the policy at rollout time: ``RolloutBatch.entropy``."""


V = TypeVar("V")


class MissingSignalError(LookupError):
    """An objective reads a signal that its needs do not name."""


def present(value: V | None, signal: Signal) -> V:
    """``value``, which the collector fills in where an objective's needs name ``signal``.

    Raises:
        MissingSignalError: if it is absent.
    """
    if value is None:
        raise MissingSignalError(
            f"The batch holds no {signal.name} signal, and the objective reads it. Add Signal.{signal.name} to the "
            "`signals` of the objective's needs, so that it is computed."
        )
    return value


@dataclass(frozen=True)
class PaddedTokens:
    """Token ids of several sequences with their mask.

    What depends on their values (``places``, ``different``) is found on the CPU before they move to a device: there,
    each would have to wait for all that is queued.

    Attributes:
        ids: int64 [B, L].
        mask: bool [B, L], True at real tokens. Prompts are padded on the left, completions on the right.
    """

    ids: Tensor
    mask: Tensor

    @classmethod
    def prompts(cls, rows: Sequence[Sequence[int]], pad: int) -> PaddedTokens:
        """Pad on the left to the longest row."""
        longest = max(map(len, rows))
        return cls(
            torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows]),
            torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in rows]),
        )

    @classmethod
    def completions(cls, rows: Sequence[Sequence[int]], pad: int) -> PaddedTokens:
        """Pad on the right to the longest row."""
        longest = max(map(len, rows))
        return cls(
            torch.tensor([list(row) + [pad] * (longest - len(row)) for row in rows]),
            torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows]),
        )

    def rows(self, rows: Tensor) -> PaddedTokens:
        """Some of the rows, trimmed on the side of the padding."""
        ids, mask = self.ids[rows], self.mask[rows]
        used = mask.any(dim=0)
        return PaddedTokens(ids[:, used], mask[:, used])

    @cached_property
    def places(self) -> Tensor:
        """int64 [N]: where the real tokens stand in the flattened batch, row by row."""
        return self.mask.flatten().nonzero().squeeze(1)

    @cached_property
    def different(self) -> tuple[Tensor, Tensor]:
        """int64 [P], a row for each of the different sequences, and int64 [B], which of these each row is."""
        keys = self.ids.masked_fill(~self.mask, -1)
        which = cast(Tensor, torch.unique(keys, dim=0, return_inverse=True)[1])  # pyright: ignore
        rows = torch.arange(len(keys), device=keys.device)
        return rows.new_zeros(int(which.max()) + 1).scatter_reduce(0, which, rows, "amin", include_self=False), which

    def to(self, device: torch.device | str) -> PaddedTokens:
        """The same on another device, with what is known of it."""
        if self.ids.device == torch.device(device):
            return self
        moved = PaddedTokens(self.ids.to(device, non_blocking=True), self.mask.to(device, non_blocking=True))
        first, which = (indices.to(device, non_blocking=True) for indices in self.different)
        vars(moved).update(places=self.places.to(device, non_blocking=True), different=(first, which))
        return moved


PER_TOKEN = {"per_token": True}
"""Metadata of fields whose last dimension is T: they are trimmed with the completions when rows are selected."""


class _Tensors:
    """What dataclasses of tensors with B rows share; nested ones are followed, and mappings to tensors per token."""

    __slots__ = ()

    def _map(self, tensor: Callable[[Tensor], Tensor], padded: Callable[[PaddedTokens], PaddedTokens]) -> Self:
        changed: dict[str, Any] = {}
        for f in fields(cast(Any, self)):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                changed[f.name] = tensor(value)
            elif isinstance(value, PaddedTokens):
                changed[f.name] = padded(value)
            elif isinstance(value, _Tensors):
                changed[f.name] = value._map(tensor, padded)
            elif isinstance(value, Mapping):
                named = cast(Mapping[str, Tensor], value)
                changed[f.name] = {name: tensor(each) for name, each in named.items()}
        return replace(cast(Any, self), **changed)

    def _trimmed(self, width: int) -> Self:
        """The tensors per token cut to ``width``."""
        changed: dict[str, Any] = {}
        for f in fields(cast(Any, self)):
            value = getattr(self, f.name)
            if isinstance(value, _Tensors):
                changed[f.name] = value._trimmed(width)
            elif isinstance(value, Mapping):
                named = cast(Mapping[str, Tensor], value)
                changed[f.name] = {name: each[..., :width] for name, each in named.items()}
            elif value is not None and f.metadata.get("per_token"):
                changed[f.name] = value[..., :width]
        return replace(cast(Any, self), **changed)


@dataclass(frozen=True, slots=True)
class TeacherScores(_Tensors):
    """The sampled tokens under the teacher and its context, :attr:`Signal.TEACHER`.

    Attributes:
        logprobs: [B, T] log P_T(y_t | x, r) in nats; the policy's own where there is no context.
        has_context: bool [B], False where the context had nothing to show.
        entropy: [B, T] nats, of the teacher's predictive distribution; 0 where there is no context.
    """

    logprobs: Tensor = field(metadata=PER_TOKEN)
    has_context: Tensor = field()
    entropy: Tensor | None = field(default=None, metadata=PER_TOKEN)


@dataclass(frozen=True, slots=True)
class ContrastScores(_Tensors):
    """The sampled tokens under the teacher and up to K rejected contexts, :attr:`Signal.CONTRAST`.

    Attributes:
        logprobs: [B, K, T] in nats.
        exists: bool [B, K], True where there is such a context.
    """

    logprobs: Tensor = field(metadata=PER_TOKEN)
    exists: Tensor = field()


@dataclass(frozen=True, slots=True)
class DistillationPrompts(_Tensors):
    """What the teacher is conditioned on in a divergence over the vocabulary, :attr:`Signal.DISTRIBUTION`.

    Attributes:
        prompts: (x, r), [B, L'] left-padded.
        has_context: bool [B], False where the context had nothing to show.
    """

    prompts: PaddedTokens
    has_context: Tensor


@dataclass(frozen=True, slots=True)
class RolloutBatch(_Tensors):
    """Completions with everything that credit and loss are computed from; rows are completions.

    What a :class:`Signal` names is ``None`` unless the objective asked for it; read it through :func:`present`.

    Attributes:
        prompts: the student's prompts, [B, L] left-padded.
        completions: sampled ids, [B, T] right-padded; the mask includes EOS.
        rollout_logprobs: [B, T] log-probs (nats) at sampling time; 0 at padding.
        rewards: [B].
        advantages: [B] group advantages, computed on [P, G] before anything is shuffled.
        loss_mask: bool [B, T], the completion mask without samples that must not be learnt from (verifier errors,
            truncated completions under that policy).
        off_policy: True where several updates reuse one rollout, so that pi_old is ``rollout_logprobs``. Otherwise
            pi_old is the detached current policy and costs no forward.
        teacher: under the privileged context.
        contrast: under rejected contexts.
        distillation: for a divergence from the teacher.
        reference: [B, T] log-probs under the reference policy.
        entropy: [B, T] nats, of the policy's predictive distribution at rollout time.
        span: bool [B, T], the tokens that the objective's ``span`` matches; ``None`` without a span.
        verdict_spans: bool [B, T] by name, the tokens of the verdicts' spans that the objective needs: :meth:`marked`.
        token_advantages: [B, T] what ``Objective.credit`` made of it; ``None`` before, or if it has no such term.
        distribution_weights: [B, T] what ``Objective.credit`` made of it: the divergence's factor.
    """

    prompts: PaddedTokens
    completions: PaddedTokens
    rollout_logprobs: Tensor = field(metadata=PER_TOKEN)
    rewards: Tensor = field()
    advantages: Tensor = field()
    loss_mask: Tensor = field(metadata=PER_TOKEN)
    off_policy: bool = False
    teacher: TeacherScores | None = None
    contrast: ContrastScores | None = None
    distillation: DistillationPrompts | None = None
    reference: Tensor | None = field(default=None, metadata=PER_TOKEN)
    entropy: Tensor | None = field(default=None, metadata=PER_TOKEN)
    span: Tensor | None = field(default=None, metadata=PER_TOKEN)
    verdict_spans: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor], metadata=PER_TOKEN)
    token_advantages: Tensor | None = field(default=None, metadata=PER_TOKEN)
    distribution_weights: Tensor | None = field(default=None, metadata=PER_TOKEN)

    def __len__(self) -> int:
        return self.completions.ids.shape[0]

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True), lambda padded: padded.to(device))

    def select(self, rows: Tensor) -> Self:
        """Some of the rows, with the padding trimmed to the longest of them.

        Args:
            rows: int64 indices.
        """
        chosen = self._map(lambda tensor: tensor[rows], lambda padded: padded.rows(rows))
        return chosen._trimmed(chosen.completions.ids.shape[1])

    def marked(self, span: str) -> Tensor:
        """bool [B, T]: the tokens that the verdicts' spans of this name mark.

        Raises:
            MissingSignalError: if the objective's needs do not name it.
        """
        if span not in self.verdict_spans:
            raise MissingSignalError(
                f"The batch marks the verdict spans {sorted(self.verdict_spans)}, and the objective reads {span!r}. "
                "Add it to the `verdict_spans` of the objective's needs, so that it is computed."
            )
        return self.verdict_spans[span]

    def credited(self, credit: Credit) -> Self:
        """The same batch with what ``Objective.credit`` made of it: what losses and counts are computed from."""
        weights = credit.distribution_weights
        if weights is not None and weights.dim() == 1:
            weights = weights[:, None].expand(self.loss_mask.shape)
        return replace(
            self,
            token_advantages=credit.token_advantages,
            distribution_weights=weights,
            loss_mask=self.loss_mask if credit.loss_mask is None else self.loss_mask & credit.loss_mask,
        )


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """One forward and backward.

    Attributes:
        batch: some rows of the rollout, padding trimmed.
        loss_count: the reduction's divisor, counted over the whole optimizer batch: all micro-batches, all processes.
        temperature: of sampling; scoring divides the logits by the same.
        tokens: under the loss mask of these rows.
    """

    batch: RolloutBatch
    loss_count: float
    temperature: float
    tokens: int

    def to(self, device: torch.device | str) -> MicroBatch:
        """The same on another device."""
        return replace(self, batch=self.batch.to(device))


@dataclass(frozen=True, slots=True)
class ValidationBatch:
    """Verified completions of held-out problems.

    Attributes:
        greedy: one rollout per problem.
        sampled: some draws per problem; empty where only greedy ones were made.
    """

    greedy: Sequence[Rollout]
    sampled: Sequence[Sequence[Rollout]]


@dataclass(frozen=True, slots=True)
class Credit:
    """What ``Objective.credit`` makes of a rollout; everything detached.

    Attributes:
        token_advantages: [B, T]; ``None`` for no policy-gradient term.
        metrics: scalars to log, keys ``credit/``.
        distribution_weights: [B], or [B, T] where tokens differ: factor of the distribution term, 0 for what it leaves
            out; ``None`` for no such term.
        loss_mask: bool [B, T] that narrows the batch's: the tokens that are learnt from, and that the reduction counts.
            ``None`` keeps the batch's.
        traces: [B, T] by name, what token credit was made of, for records and credit maps; nothing is learnt from them.
            ``evidence`` (nats) where it is not the teacher's plain log-ratio, and ``weight``, what it was turned into.
    """

    token_advantages: Tensor | None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    distribution_weights: Tensor | None = None
    loss_mask: Tensor | None = None
    traces: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


class TokenScores(NamedTuple):
    """What one forward of the policy says of the sampled tokens. A tuple, so that FSDP finds the tensors in it.

    ``functional.token_scores`` gives the same fields flat, [N], for the N tokens under the mask.

    Attributes:
        logprobs: [B, T] log-probs (nats) of the sampled ids, 0 outside the mask.
        entropy: [B, T] entropy (nats) of the predictive distribution, 0 outside the mask.
        divergence: [B, T] of a distribution term, or ``None``.
    """

    logprobs: Tensor
    entropy: Tensor
    divergence: Tensor | None = None


class TokenLoss(NamedTuple):
    """Per-token loss [B, T] (not reduced) and per-token diagnostics [B, T] that are averaged over the loss mask."""

    loss: Tensor
    diagnostics: Mapping[str, Tensor]
