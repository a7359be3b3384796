"""One iteration of RLSD from its public parts, top to bottom: sample, verify, score, credit, update.

    python examples/one_iteration.py

Everything that ``scripts/fit.py`` does in an epoch happens here in the same order, without Lightning.
Shapes: P prompts, G completions for each, B = P * G, T completion tokens.
"""

from __future__ import annotations

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from rlsd_pl import RLSD, ChainTask, GroupedEngine, LabVerifier, LiveTeacher, SolutionContext
from rlsd_pl.objectives import Constant
from rlsd_pl.policy import Policy
from rlsd_pl.rollout import RolloutCollector, Sampler, Scorer
from rlsd_pl.types import RolloutBatch, Sampling

P, G = 4, 8
SAMPLING = Sampling(max_tokens=80, completions=G)


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    disable_progress_bar()
    console = Console(highlight=False)

    # Who learns, from what, and who judges. The lab's policy is a Hugging Face causal LM like any other.
    policy = Policy.from_pretrained("lab")
    task, verifier = ChainTask(), LabVerifier()
    problems = [task.problem("train", index) for index in range(P)]
    objective = RLSD(epsilon_w=0.2, strength=Constant(1.0))

    # 1. Sample G completions of each problem, and have them verified.
    sampler = Sampler(policy=policy, engine=GroupedEngine(), verifier=verifier)
    sampled = sampler.sample(problems, SAMPLING, seed=0)
    show_groups(console, sampled.groups)

    # 2. Score the same token ids under the teacher, which is the policy with the solution in its prompt, and
    # 3. turn rewards and evidence into token advantages. The collector does 1 to 3; it samples the same completions.
    context = SolutionContext(template="{{ privileged }}|{{ prompt }}")
    scorer = Scorer(policy=policy, teacher=LiveTeacher(), context=context, verifier=verifier, temperature=1.0)
    collector = RolloutCollector(sampler=sampler, scorer=scorer, objective=objective, sampling=SAMPLING)
    batch = collector.collect(problems, iteration=0, seed=0).batch
    departure = (batch.token_advantages - batch.advantages[:, None]).abs() * batch.loss_mask
    show_credit(console, policy, batch, row=int(departure.sum(dim=1).argmax()))

    # 4. Update: every token's loss, reduced over the whole batch, one optimizer step.
    optimizer = torch.optim.AdamW(policy.parameters(), lr=2e-4)
    before = token_logprobs(policy, batch)
    update(policy, objective, optimizer, batch)
    change = token_logprobs(policy, batch) - before
    show_change(console, batch, change)


def update(policy: Policy, objective: RLSD, optimizer: torch.optim.Optimizer, batch: RolloutBatch) -> None:
    scores = policy(batch.prompts, batch.completions, SAMPLING.temperature)
    loss = objective.loss(batch, scores).loss  # [B, T]
    objective.reduction(loss, batch.loss_mask).backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def token_logprobs(policy: Policy, batch: RolloutBatch) -> torch.Tensor:
    return policy(batch.prompts, batch.completions, SAMPLING.temperature).logprobs


def show_groups(console: Console, groups) -> None:
    table = Table(
        "problem",
        "expected",
        "rewards of its completions",
        "one completion",
        title="1. Sample and verify",
        box=box.SIMPLE_HEAD,
    )
    for group in groups:
        rewards = " ".join(f"{rollout.verdict.reward:.0f}" for rollout in group)
        problem = group[0].problem
        table.add_row(problem.prompt, problem.answer, rewards, group[0].completion.text)
    console.print(table)


def show_credit(console: Console, policy: Policy, batch: RolloutBatch, row: int) -> None:
    table = Table(
        "token", "log P_S", "log P_T", "evidence", "credit",
        title=f"2, 3. Score and credit: completion {row}, A = {batch.advantages[row]:+.2f}", box=box.SIMPLE_HEAD,
    )  # fmt: skip
    evidence = batch.teacher.logprobs[row] - batch.rollout_logprobs[row]
    for t in evidence.abs().topk(8).indices.sort().values.tolist():
        student, teacher = batch.rollout_logprobs[row, t], batch.teacher.logprobs[row, t]
        token = policy.tokenizer.convert_ids_to_tokens(int(batch.completions.ids[row, t]))
        numbers = (student, teacher, evidence[t], batch.token_advantages[row, t])
        table.add_row(f"{t}: {token}", *(f"{number:+.2f}" for number in numbers))
    console.print(table)


def show_change(console: Console, batch: RolloutBatch, change: torch.Tensor) -> None:
    table = Table("completions", "mean change of log P per token", title="4. Update", box=box.SIMPLE_HEAD)
    for name, sign in (("A > 0", 1), ("A = 0", 0), ("A < 0", -1)):
        mask = batch.loss_mask & (batch.advantages.sign() == sign)[:, None]
        if mask.any():
            table.add_row(name, f"{change[mask].mean():+.4f}")
    console.print(table)


if __name__ == "__main__":
    main()
