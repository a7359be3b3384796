"""Seconds per step and peak memory of TRL's GRPOTrainer and of RLVR here, on the same model, prompts and sizes.

Each side runs in a process of its own, in turn, several times; the ratios are of neighbours.

python scripts/bench/peer.py [--work lab|28m|0.6b] [--turns 5] [--steps 4] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))


def trl_side(work_name: str, model: str, steps: int) -> list[float]:
    """Seconds of each optimizer step of GRPOTrainer, sampling with transformers included."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer
    from works import WORKS, prompt_texts, text_reward

    work = WORKS[work_name]
    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seconds.append(time.perf_counter() - self.start)

    def reward(completions: list[Any], **kwargs: Any) -> list[float]:
        return [text_reward(completion[0]["content"]) for completion in completions]

    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=work.prompts * work.group,
            num_generations=work.group,
            max_completion_length=work.completion,
            max_steps=steps,
            learning_rate=1e-6,
            beta=0.0,
            bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            report_to="none",
            save_strategy="no",
            logging_steps=1000,
            disable_tqdm=True,
        )
        prompts = [[{"role": "user", "content": text}] for text in prompt_texts(work, 64)]
        data = Dataset.from_dict({"prompt": prompts})
        GRPOTrainer(
            model, reward_funcs=cast(Any, reward), args=settings, train_dataset=data, callbacks=[Clock()]
        ).train()
    return seconds


def own_side(work_name: str, model: str, steps: int) -> list[float]:
    """Seconds of each iteration of RLVR, rollout and update."""
    import torch
    from lightning.pytorch import Callback, Trainer
    from works import WORKS, Prompts, TextVerifier

    from rlsd_pl import RLVR, GroupedEngine, LiveTeacher, PolicyModule, RolloutDataModule, SolutionContext
    from rlsd_pl.objectives import KeepReward

    work = WORKS[work_name]
    seconds: list[float] = []

    class Clock(Callback):
        """From the end of an iteration to that of the next: the rollout stands before the epoch's start."""

        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            self.last = time.perf_counter()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            now = time.perf_counter()
            seconds.append(now - self.last)
            self.last = now

    data = RolloutDataModule(
        Prompts(work),
        TextVerifier(),
        GroupedEngine(batch_size=work.prompts * work.group),
        prompts_per_rollout=work.prompts,
        group_size=work.group,
        micro_batch_size=work.prompts * work.group,
        max_completion_tokens=work.completion,
    )
    objective = RLVR(truncation=KeepReward())
    module = PolicyModule(objective, LiveTeacher(), SolutionContext(), name_or_path=model)
    trainer = Trainer(
        accelerator="auto",
        devices=1,
        precision="bf16-mixed" if torch.cuda.is_available() else "32-true",
        max_epochs=steps,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[Clock()],
    )
    trainer.fit(module, data)
    return seconds


SIDES: dict[str, Callable[..., list[float]]] = {"trl": trl_side, "rlsd_pl": own_side}


def child(side: str, work: str, model: str, steps: int) -> None:
    """Run one side and print what it took; the first step warms up and does not count."""
    import resource

    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    seconds = SIDES[side](work, model, steps + 1)[1:]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        memory = torch.cuda.max_memory_allocated()
    print(json.dumps({"seconds": seconds, "memory": memory}), flush=True)


def measured(side: str, work: str, model: Path, steps: int, threads: int) -> tuple[float, float]:
    """Median seconds of a step, and peak bytes, in a process of its own."""
    command = [sys.executable, __file__, "--child", side, "--work", work, "--model", str(model), "--steps", str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The {side} side failed:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    return statistics.median(result["seconds"]), float(result["memory"])


def main() -> None:
    """Both sides in turn; a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="lab", choices=["lab", "28m", "0.6b"])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=list(SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.work, options.model, options.steps)
    from works import WORKS, write_model

    console = Console()
    table = Table("turn", "TRL, s", "here, s", "ratio", "TRL, MB", "here, MB", "ratio", title=f"{options.work}, a step")
    times, memories = [], []
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(WORKS[options.work], Path(folder))
        for turn in range(options.turns):
            (theirs, their_memory), (ours, our_memory) = (
                measured(side, options.work, model, options.steps, options.threads) for side in SIDES
            )
            times.append(theirs / ours)
            memories.append(their_memory / our_memory)
            table.add_row(
                str(turn + 1),
                f"{theirs:.3f}",
                f"{ours:.3f}",
                f"{times[-1]:.2f}",
                f"{their_memory / 1e6:.0f}",
                f"{our_memory / 1e6:.0f}",
                f"{memories[-1]:.2f}",
            )
    console.print(table)
    for name, ratios in (("time", times), ("memory", memories)):
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        console.print(f"TRL / here, {name}: median {middle:.2f}, min {low:.2f}, max {high:.2f}")
    return None


if __name__ == "__main__":
    main()
