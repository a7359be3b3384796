"""A run that does not fit into the device's memory goes on with smaller micro-batches."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence

import torch
from jsonargparse import Namespace

from rlsd_pl.commands.runs import RunFolder, take_option
from rlsd_pl.persistence.checkpoints import saved

log = logging.getLogger(__name__)

SETTING = "data.micro_batch_size"
BUDGET = "data.micro_batch_tokens"


def with_smaller_batches(
    given: Sequence[str], run: RunFolder, config: Namespace, processes: int, error: torch.OutOfMemoryError
) -> list[str]:
    """Arguments that go on with the run after its last finished iteration, the micro-batch halved.

    Updates do not depend on the size of micro-batches, and a resumed iteration samples what the interrupted one did.

    Args:
        given: the arguments that the run was started with.

    Raises:
        torch.OutOfMemoryError: the same, with advice, if the micro-batch is one completion, or on several processes,
            which would have to agree.
    """
    size = config[SETTING]
    if size == 1 or processes > 1:
        smaller = f"--{SETTING} below {size}, " if size > 1 else ""
        raise torch.OutOfMemoryError(
            f"The device's memory is too small for micro-batches of {size}. Set {smaller}--engine.batch_size lower, "
            "--data.max_completion_tokens lower, --model.gradient_checkpointing true, --adapter lora, or "
            f"--trainer.precision bf16-mixed. {error}"
        ) from error
    halved = {SETTING: size // 2}
    if budget := config.get(BUDGET):
        halved[BUDGET] = max(1, budget // 2)
    smaller = [text for name, value in halved.items() for text in (f"--{name}", str(value))]
    log.warning("Out of memory: going on with %s. %s", " ".join(smaller), error)
    _, rest = take_option(list(given), "run_dir")
    if any(argument.partition("=")[0] == "--resume" for argument in rest):
        return [*rest, *smaller]
    if saved(run.path / "checkpoints"):
        return ["--resume", str(run.path), *smaller]
    return [*rest, "--run_dir", str(run.path), *smaller]


def release_memory() -> None:
    """Give the device what the last attempt held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
