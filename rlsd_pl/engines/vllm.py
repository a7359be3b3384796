"""Sampling with vLLM in this process and on this GPU; written for vLLM 0.33."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Literal

import torch

from rlsd_pl.collectives import process_count
from rlsd_pl.engines.base import OnFinished, hand_over, ignore_finished, made
from rlsd_pl.engines.mismatch import ForeignEngine
from rlsd_pl.engines.weights import MergedWeights
from rlsd_pl.errors import SetupError
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, Sampling

IN_PROCESS = "VLLM_ENABLE_V1_MULTIPROCESSING"


def require_vllm(name: str, policy: Policy) -> Any:
    """The module ``vllm``, where the policy can be served by it.

    Args:
        name: of the engine's preset, for messages.
    """
    if policy.sharded:
        raise SetupError(
            f"Got engine={name} for a sharded policy; expected whole weights in each process. Set --engine grouped, or "
            "a strategy that does not shard."
        )
    if not on_gpu(policy):
        raise SetupError(f"Got engine={name} for a policy on {policy.device}; expected a GPU. Set --engine grouped.")
    try:
        import vllm  # type: ignore
    except ImportError as error:
        raise SetupError(
            f"Got engine={name} without vLLM; expected its extra. Run pip install 'rlsd_pl[vllm]', or set --engine "
            f"grouped. ({error})"
        ) from error
    return vllm


def check_ended(reason: str | None) -> None:
    """Refuse completions that vLLM gave up."""
    if reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM ended a completion with {reason!r}; expected stop or length.")


def on_gpu(policy: Policy) -> bool:
    return policy.device.type == "cuda"


def seeds(seed: int, count: int) -> list[int]:
    """A seed per request, with room to add the index of a sibling: vLLM takes 63 bits."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2**62, (count,), generator=generator).tolist()


class VLLMEngine(ForeignEngine):
    """vLLM beside the trainer, asleep while it trains.

    Each call wakes it, loads the policy's weights if it was asleep or they have changed, adapters merged, and puts it
    to sleep again, which frees its weights and cache (level 2). Every request has a seed of its own; equal draws at
    equal seeds also take kernels that do not depend on the batch (``VLLM_BATCH_INVARIANT=1``). For one process; several
    share a server.

    Args:
        gpu_memory_utilization: share of the GPU's memory for vLLM while it is awake.
        dtype: that vLLM computes in.
        max_model_len: longest prompt and completion together; ``None`` for the model's positions.
        sleep: False keeps it awake, where the memory is enough for both.
        enforce_eager: without CUDA graphs, which start faster and decode slower.
        rescore, checked: see :class:`ForeignEngine`.
    """

    def __init__(
        self,
        gpu_memory_utilization: float = 0.5,
        dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
        max_model_len: int | None = None,
        sleep: bool = True,
        enforce_eager: bool = False,
        rescore: bool = False,
        checked: int = 16,
    ) -> None:
        super().__init__(rescore, checked)
        if not 0 < gpu_memory_utilization < 1:
            raise ValueError(f"Got engine.gpu_memory_utilization={gpu_memory_utilization}; expected between 0 and 1.")
        self.gpu_memory_utilization, self.dtype, self.max_model_len = gpu_memory_utilization, dtype, max_model_len
        self.sleep, self.enforce_eager = sleep, enforce_eager
        self._llm: Any = None
        self._asleep, self._stale = False, True

    def bind(self, policy: Policy) -> None:
        if process_count() > 1:
            raise SetupError(
                f"Got engine=vllm with {process_count()} processes; expected one. Set --engine vllm_server, or "
                "--trainer.devices 1."
            )
        vllm = require_vllm("vllm", policy)
        # Weights are handed over as tensors, which takes the same process.
        if os.environ.setdefault(IN_PROCESS, "0") != "0":
            raise SetupError(f"Got {IN_PROCESS}={os.environ[IN_PROCESS]}; expected 0, or unset, with engine=vllm.")
        with tempfile.TemporaryDirectory() as folder, _random_state_kept():
            policy.causal_lm.config.save_pretrained(folder)
            self._llm = vllm.LLM(**self._settings(Path(folder)))
        self._asleep, self._stale = False, True
        self._rest()

    def _settings(self, folder: Path) -> dict[str, Any]:
        return {
            "model": str(folder),
            "load_format": "dummy",
            "skip_tokenizer_init": True,
            "generation_config": "vllm",  # not the model's own sampling defaults
            "logprobs_mode": "processed_logprobs",  # under the temperature
            "enable_sleep_mode": self.sleep,
            "enable_prefix_caching": True,
            "dtype": self.dtype,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "max_model_len": self.max_model_len,
            "enforce_eager": self.enforce_eager,
        }

    def weights_changed(self) -> None:
        self._stale = True

    def close(self) -> None:
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None

    def generate(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        if self._llm is None:
            self.bind(policy)
        late = self._rescores(sampling)
        rows: dict[str, Completion] = {}
        with _random_state_kept():
            self._wake(policy)
            try:
                with closing(self._sampled(policy, prompts, sampling, seed)) as finished:
                    for name, completion in finished:
                        rows[name] = completion
                        if not late:
                            on_finished([(_place(name), completion)])
            finally:
                self._rest()
        groups = [[rows[f"{i}_{k}"] for k in range(sampling.completions)] for i in range(len(prompts))]
        groups = self._settled(policy, prompts, groups, sampling)
        if late:
            hand_over(groups, on_finished)
        return groups

    def _sampled(
        self, policy: Policy, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int
    ) -> Generator[tuple[str, Completion]]:
        """Completions as they end, by the names of their requests. Siblings share the prompt's cache by its content."""
        from vllm.inputs import tokens_input  # type: ignore

        engine = self._llm.llm_engine
        names = [f"{place}_{k}" for place in range(len(prompts)) for k in range(sampling.completions)]
        running = set(names)
        try:
            for name, own in zip(names, seeds(seed, len(names)), strict=True):
                prompt = tokens_input(list(prompts[_place(name)]))
                engine.add_request(name, prompt, _parameters(policy, sampling, own))
            while engine.has_unfinished_requests():
                for output in engine.step():
                    if output.finished:
                        running.remove(output.request_id)
                        yield output.request_id, _completion(policy, output.outputs[0])
        finally:
            if running:
                engine.abort_request(sorted(running))
        if running:
            raise RuntimeError(f"vLLM ended with {len(running)} of {len(names)} completions missing.")

    # --- weights -----------------------------------------------------------------------------------------------------

    def _wake(self, policy: Policy) -> None:
        """Weights first: the cache would take the memory that loading them needs."""
        if self._asleep:
            self._llm.wake_up(tags=["weights"])
        if self._stale:
            self._llm.apply_model(lambda model: _load(model, policy))
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
        if self._stale:
            self._llm.reset_prefix_cache()
        self._asleep = self._stale = False

    def _rest(self) -> None:
        if self.sleep:
            self._llm.sleep(level=2)
            self._asleep = self._stale = True


def _place(name: str) -> int:
    return int(name.partition("_")[0])


def _parameters(policy: Policy, sampling: Sampling, seed: int) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams  # type: ignore

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=seed,
        max_tokens=sampling.max_tokens,
        stop_token_ids=sorted(policy.stop_ids),
        ignore_eos=True,  # the stop tokens are the policy's, and these alone
        logprobs=0,  # of the drawn token
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _load(model: Any, policy: Policy) -> None:
    loaded = model.load_weights(MergedWeights(policy).named_parameters())
    missing = set() if loaded is None else {name for name, _ in model.named_parameters()} - set(loaded)
    if missing:
        raise SetupError(
            f"vLLM found no weights for {len(missing)} of its parameters, such as {sorted(missing)[0]}; expected a "
            "model whose parameters are named as in its checkpoint. Set --engine grouped."
        )


def _completion(policy: Policy, output: Any) -> Completion:
    check_ended(output.finish_reason)
    logprobs = [at[token].logprob for at, token in zip(output.logprobs, output.token_ids, strict=True)]
    return made(policy, output.token_ids, logprobs)


def _random_state_kept() -> AbstractContextManager[None]:
    """vLLM seeds the global generators when it starts."""
    from lightning.pytorch.utilities.seed import isolate_rng

    return isolate_rng()
