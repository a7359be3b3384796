"""One update by scripted rollouts, on any number of processes; run by test_distributed.py."""

import sys
from pathlib import Path

import torch
from lightning.pytorch import Trainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rlsd_pl.callbacks import LeakageDetection, RolloutMetrics
from rlsd_pl.contexts import RejectedSiblings, SolutionContext
from rlsd_pl.distributed import FSDP2Strategy
from rlsd_pl.engines import ScriptedEngine
from rlsd_pl.objectives import OPSD, RLCSD, RLSD, SRPO
from rlsd_pl.teachers import PeriodicTeacher
from tests.harness import TRAINER, data, module


def say(prompt: str, k: int) -> str:
    """Lengths differ between prompts and completions, so that local counts differ between processes."""
    return "jar " * (1 + (len(prompt) * 7 + int("".join(filter(str.isdigit, prompt))[:4]) + 5 * k) % 6) + "s" * k


def main(model: str, strategy: str, devices: int, out: str) -> None:
    """Train two iterations with each objective and save weights and metrics; there is one held-out problem."""
    torch.set_num_threads(1)
    results = {}
    contrast = RejectedSiblings(count=2, template=SolutionContext().template.source)
    for objective in (RLSD(), OPSD(), RLCSD(), SRPO()):
        trained = module(Path(model), objective, PeriodicTeacher(1), contrast=contrast)
        trainer = Trainer(
            **{
                **TRAINER,
                "devices": devices,
                "strategy": FSDP2Strategy() if strategy == "fsdp" else strategy,
                "gradient_clip_val": 0.5,
                "limit_val_batches": 1.0,
                "callbacks": [RolloutMetrics(), LeakageDetection(answer_lead="so")],
            }
        )
        settings = {"max_completion_tokens": 24, "micro_batch_size": 3, "val_problems": 1}
        trainer.fit(trained, data(engine=ScriptedEngine(say), **settings))
        weights = {
            name: (p.full_tensor() if hasattr(p, "full_tensor") else p).detach()
            for name, p in trained.policy.trainable().items()
        }
        results[type(objective).__name__] = {"weights": weights, "metrics": dict(trainer.callback_metrics)}
    if trainer.is_global_zero:
        torch.save(results, out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
