"""The teacher interface: whose weights score the sampled tokens, and when they refresh."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from rlsd_pl.policy import Policy


class Teacher(nn.Module, ABC):
    """Whose weights score. A module, so that copied weights live in the checkpoint and move with the policy.

    ``same_weights`` is True where the teacher is the policy as it stands, so that nothing has to be copied aside.
    """

    same_weights = False

    def bind(self, policy: Policy) -> None:
        """Called once, when the policy has its weights (and shards) and before any training."""
        return

    @abstractmethod
    def scoring(self, policy: Policy) -> AbstractContextManager[Policy]:
        """Context manager that yields the model to score with; outside autograd, before the student's forward."""

    def model(self, policy: Policy) -> Policy:
        """The model that scores, whatever its weights are now: the policy, unless the teacher is another one."""
        return policy

    def after_iteration(self, policy: Policy, iteration: int) -> None:
        """Called when the updates of a 0-based iteration are done."""
        return


class Snapshot(nn.Module):
    """A copy of a policy's trainable tensors, matched by name.

    Sharded tensors stay sharded. Frozen weights are not copied: policy and teacher share them.
    """

    def copy_from(self, policy: Policy) -> None:
        """Take the policy's weights; the first call allocates."""
        with torch.no_grad():
            for name, parameter in policy.trainable().items():
                key = name.replace(".", "/")
                if key in self._parameters:
                    self.get_parameter(key).copy_(parameter)
                else:
                    self.register_parameter(key, nn.Parameter(parameter.detach().clone(), requires_grad=False))

    @torch.no_grad()
    def move_towards(self, policy: Policy, decay: float) -> None:
        """``theta_T <- decay * theta_T + (1 - decay) * theta``, tensor by tensor."""
        for kept, current in self._pairs(policy):
            kept.lerp_(current, 1.0 - decay)

    @contextmanager
    def swapped_in(self, policy: Policy) -> Iterator[Policy]:
        """Exchange the policy's trainable weights with these, in place and bit for bit, and exchange them back."""
        self._exchange(policy)
        try:
            yield policy
        finally:
            self._exchange(policy)

    @torch.no_grad()
    def _exchange(self, policy: Policy) -> None:
        for kept, current in self._pairs(policy):
            aside = current.detach().clone()
            current.copy_(kept)
            kept.copy_(aside)

    def _pairs(self, policy: Policy) -> Iterator[tuple[Tensor, Tensor]]:
        trainable = policy.trainable()
        mine = {key.replace("/", "."): tensor for key, tensor in self._parameters.items()}
        if mine.keys() != trainable.keys():
            odd = sorted(mine.keys() ^ trainable.keys())
            raise RuntimeError(
                f"Teacher and policy train different tensors: {odd[:5]}. Was the model changed on resume?"
            )
        for name, parameter in trainable.items():
            kept = mine[name]
            assert kept is not None
            yield kept, parameter
