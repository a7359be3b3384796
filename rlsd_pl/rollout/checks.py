"""Which problems a run can use, checked before training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rlsd_pl.contexts.base import Context, ProblemContext
from rlsd_pl.engines import demonstration
from rlsd_pl.errors import SetupError, listed, user_code
from rlsd_pl.learner import Learner
from rlsd_pl.rollout.sampler import student_messages, teacher_messages
from rlsd_pl.rollout.verdict_checks import verifier_name
from rlsd_pl.rollout.watch import TIMEOUT_SECONDS, watched
from rlsd_pl.tasks.base import Split, Task
from rlsd_pl.types import Problem, Signal
from rlsd_pl.verifiers.base import Verifier

log = logging.getLogger(__name__)

ENDLESS_PROBE = 64
"""Problems of an endless split that are checked."""

CHECKED_AT_ONCE = 1024
"""Rows that the verifier checks side by side; bounds how many problems stand in memory."""


@dataclass(frozen=True)
class PromptLimits:
    """Longest prompts, in tokens; with their completion they stay within the model's positions.

    Attributes:
        student: of the policy's prompt.
        teacher: of the prompt with privileged text; ``None`` for no limit.
        completion: longest completion.
        positions: what the model is made for; ``None`` where it has no limit.
    """

    student: int
    teacher: int | None
    completion: int
    positions: int | None

    @classmethod
    def within(cls, positions: int | None, completion: int, student: int, teacher: int | None) -> PromptLimits:
        """The limits that are set, cut to what the positions leave beside a completion.

        Raises:
            SetupError: if they leave nothing, or less than a teacher's prompt that was asked for.
        """
        if positions is None:
            return cls(student, teacher, completion, positions)
        room = positions - completion
        if room < 1:
            raise SetupError(
                f"Got data.max_completion_tokens={completion} for a model of {positions} positions, which leaves no "
                f"room for a prompt. Set data.max_completion_tokens well below {positions}."
            )
        if teacher is not None and teacher > room:
            raise SetupError(
                f"Got data.max_teacher_prompt_tokens={teacher}; expected at most {room}: the model has {positions} "
                f"positions and data.max_completion_tokens={completion}."
            )
        return cls(min(student, room), room if teacher is None else teacher, completion, positions)

    def refused(self, tokens: int, setting: str, limit: int | None) -> str | None:
        """Reason to refuse a prompt of this length, or ``None``."""
        if limit is None or tokens <= limit:
            return None
        if self.positions is not None and limit == self.positions - self.completion:
            return (
                f"prompt longer than {limit} tokens, all that the model's {self.positions} positions leave beside "
                f"data.max_completion_tokens={self.completion} (see also {setting})"
            )
        return f"prompt longer than {setting}={limit}"


@dataclass(frozen=True)
class ProblemCheck:
    """Checks that problems can be judged and that their prompts fit the limits; and that those to train on hold the
    privileged text that the objective learns from.

    Attributes:
        limits: a longer prompt is refused.
        max_skipped_share: share of refused problems above which the run does not start.
        timeout_seconds: of the verifier's ``check`` of one problem.
    """

    task: Task
    verifier: Verifier
    learner: Learner
    limits: PromptLimits
    max_skipped_share: float
    timeout_seconds: float = TIMEOUT_SECONDS

    def usable(self, split: Split) -> list[int] | None:
        """Indices of the usable problems; ``None`` for an endless split, of which some are checked.

        Raises:
            SetupError: if none is usable, or too many are not.
        """
        size = self.task.size(split)
        total = ENDLESS_PROBE if size is None else size
        usable: list[int] = []
        refused: dict[str, list[str]] = {}
        for start in range(0, total, CHECKED_AT_ONCE):
            indices = range(start, min(start + CHECKED_AT_ONCE, total))
            with user_code(f"{type(self.task).__name__}.problem"):
                problems = [self.task.problem(split, index) for index in indices]
            for index, problem, reason in zip(indices, problems, self._unusable(split, problems), strict=True):
                if reason is None:
                    usable.append(index)
                else:
                    refused.setdefault(reason, []).append(problem.id)
        reasons = Counter({reason: len(ids) for reason, ids in refused.items()})
        listing = "; ".join(
            f"{count} x {reason} ({listed(refused[reason])})" for reason, count in reasons.most_common(5)
        )
        if not usable or reasons.total() > self.max_skipped_share * total:
            raise SetupError(
                f"{reasons.total()} of {total} {split} problems cannot be used (allowed: "
                f"{self.max_skipped_share:.0%}). {listing or 'The split is empty.'}. Correct the data, or raise "
                "--data.max_skipped_share."
            )
        if reasons:
            log.warning("Skipping %d of %d %s problems: %s.", reasons.total(), total, split, listing)
        return None if size is None else usable

    def check_examples(self) -> None:
        """Judge the task's worked examples: what they show must be what the verifier reads.

        Raises:
            SetupError: if one of a known answer gets no reward.
        """
        examples = self.task.examples
        if not examples:
            return
        with user_code(f"{type(self.verifier).__name__}.verify"):
            reasons = self.verifier.check_all([example.problem for example in examples])
            # One whose reference is no use, or is not told, cannot be judged.
            known = [example for example, reason in zip(examples, reasons, strict=True) if reason is None]
            verdicts = self.verifier.verify([e.solution for e in known], [e.problem for e in known])
        for example, verdict in zip(known, verdicts, strict=True):
            if verdict.reward == 0:
                raise SetupError(
                    f"Got task.few_shot with the example {example.problem.id}, whose solution the verifier does not "
                    f"pass ({verdict.detail}): it ends in {example.solution[-60:]!r}, and the prompt says "
                    f"{self.verifier.instruction!r}. Set --verifier.rule to a rule that reads it, for example "
                    "HashLine for '#### 42', or LastNumber, or --task.few_shot to a file whose solutions end as the "
                    "prompt says."
                )

    def try_wordings(self) -> None:
        """Encode the teacher's chat about one problem in every wording that a rollout may need.

        Raises:
            SetupError: if the model's chat template refuses such a chat, or leaves out a turn of it; if two contexts
                that are contrasted word one text in two ways.
        """
        problem = self.task.problem("train", 0)
        chats = []
        for context in self._contexts():
            for wording in context.wordings():
                chats.append(teacher_messages(wording, problem, self.verifier, "privileged text"))
                try:
                    self.learner.encode(chats[-1])
                except ValueError as error:
                    raise SetupError(f"{type(wording).__name__} cannot be shown to this model. {error}") from error
        if Signal.CONTRAST in self.learner.objective.needs.signals and chats[-1] not in chats[:-1]:
            raise SetupError(self._two_wordings())

    def _two_wordings(self) -> str:
        learner = self.learner
        return (
            f"{type(learner.context).__name__} and {type(learner.contrast).__name__} word one text in two ways, so "
            f"{type(learner.objective).__name__} would contrast wordings. Expected the same template, place and "
            "instruction. Set --context.template and --contrast.template to one text."
        )

    def _contexts(self) -> list[Context]:
        """Those that the objective needs."""
        learner, signals = self.learner, self.learner.objective.needs.signals
        used = [learner.context] if signals & (Signal.TEACHER | Signal.DISTRIBUTION) else []
        return used + ([learner.contrast] if signals & Signal.CONTRAST and learner.contrast is not None else [])

    def _unusable(self, split: Split, problems: Sequence[Problem]) -> list[str | None]:
        """Why each problem cannot be used; ``None`` where it can."""
        with user_code(f"{verifier_name(self.verifier)}.check"):
            reasons = self._verifiers_reasons(problems)
        return [
            reason if problem.prompt.strip() and reason else self._unusable_as_prompt(split, problem)
            for problem, reason in zip(problems, reasons, strict=True)
        ]

    def _verifiers_reasons(self, problems: Sequence[Problem]) -> list[str | None]:
        """The verifier's, each timed. Workers that check side by side have limits of their own."""
        if type(self.verifier).check_all is not Verifier.check_all:
            return self.verifier.check_all(problems)
        call, reasons = f"{verifier_name(self.verifier)}.check", list[str | None]()
        for problem in problems:
            waiting = f"problem {problem.id} ({len(problems) - len(reasons)} problems wait)"
            with watched(call, waiting, self.timeout_seconds):
                reasons.append(self.verifier.check(problem))
        return reasons

    def _unusable_as_prompt(self, split: Split, problem: Problem) -> str | None:
        if not problem.prompt.strip():
            return "the prompt is absent or blank"
        # Nothing is learnt from a held-out problem, so it needs neither context nor demonstration.
        if split == "train" and (reason := self._missing_text(problem)):
            return reason
        messages = student_messages(problem, self.verifier)
        try:
            tokens = len(self.learner.encode(messages))
        except ValueError as error:
            return str(error)
        if reason := self.limits.refused(tokens, "data.max_prompt_tokens", self.limits.student):
            return reason
        return self._long_context(problem) if split == "train" else None

    def _long_context(self, problem: Problem) -> str | None:
        """Reason why a teacher's prompt that is known before the rollout cannot be used, or ``None``."""
        learner = self.learner
        for context in self._contexts():
            if isinstance(context, ProblemContext) and (text := context.text(problem)) is not None:
                tokens = len(learner.encode(teacher_messages(context, problem, self.verifier, text)))
                if reason := self.limits.refused(tokens, "data.max_teacher_prompt_tokens", self.limits.teacher):
                    return f"the teacher's {reason}"
        return None

    def _missing_text(self, problem: Problem) -> str | None:
        """Reason why the objective can never get the text that it learns from, or ``None``."""
        learner, needs = self.learner, self.learner.objective.needs
        fields = needs.demonstrations
        if fields and demonstration(problem, fields) is None:
            return f"no demonstration: none of {', '.join(fields)} among its privileged texts"
        if needs.signals & (Signal.TEACHER | Signal.DISTRIBUTION) and (reason := learner.context.check(problem)):
            return reason
        if needs.signals & Signal.CONTRAST and learner.contrast is not None:
            return learner.contrast.check(problem)
        return None
