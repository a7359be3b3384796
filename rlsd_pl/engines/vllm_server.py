"""Sampling with a vLLM server, on other GPUs than the trainer's; written for vLLM 0.33."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import torch.distributed as dist

from rlsd_pl.collectives import process_count
from rlsd_pl.engines.base import OnFinished, hand_over, ignore_finished, made
from rlsd_pl.engines.mismatch import ForeignEngine
from rlsd_pl.engines.vllm import check_ended, require_vllm, seeds
from rlsd_pl.engines.weights import MergedWeights
from rlsd_pl.errors import SetupError
from rlsd_pl.policy import Policy
from rlsd_pl.types import Completion, Sampling

START = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' --logprobs-mode '
    "processed_logprobs --generation-config vllm"
)
"""How the server has to be started."""


class VLLMServerEngine(ForeignEngine):
    """A vLLM server that gets the policy's weights over NCCL before the first completion and after each iteration.

    The weights are those of the causal LM, adapters merged, sent by process 0; all processes ask the same server. It
    has to serve a model of the same architecture with ``--logprobs-mode processed_logprobs``: otherwise log-probs are
    without the temperature, which shows in ``perf/rollout_mismatch``.

    Args:
        url: of the server.
        concurrency: prompts in flight, of each process.
        timeout: seconds for one request, a group of completions or a transfer of weights.
        rescore, checked: see :class:`ForeignEngine`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        concurrency: int = 64,
        timeout: float = 600.0,
        rescore: bool = False,
        checked: int = 16,
    ) -> None:
        super().__init__(rescore, checked)
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"Got engine.url={url}; expected http:// or https://.")
        if concurrency < 1 or not timeout > 0:
            raise ValueError(f"Got engine.concurrency={concurrency}, engine.timeout={timeout}; expected more than 0.")
        self.url, self.concurrency, self.timeout = url.rstrip("/"), concurrency, timeout
        self._model: str | None = None
        self._transfer: Any = None

    def bind(self, policy: Policy) -> None:
        require_vllm("vllm_server", policy)
        self._model = self._ask("/v1/models")["data"][0]["id"]
        if _first():
            self._transfer = self._connected(policy)
        self.weights_changed()

    def _connected(self, policy: Policy) -> Any:
        """vLLM's trainer side of the transfer."""
        from vllm.distributed import weight_transfer  # type: ignore
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo  # type: ignore
        from vllm.utils.network_utils import get_ip, get_open_port  # type: ignore

        workers = int(self._ask("/get_world_size")["world_size"])
        return weight_transfer.WeightTransferTrainerFactory.trainer_init(
            init_info=NCCLTrainerInitInfo(
                master_address=get_ip(), master_port=get_open_port(), world_size=workers + 1, rank=0
            ),
            client=weight_transfer.HTTPVLLMWeightSyncClient(self.url, timeout=self.timeout),
            source=weight_transfer.ModuleSource(MergedWeights(policy)),
        )

    def weights_changed(self) -> None:
        if self._model is None:
            return
        if _first():
            self._transfer.send_weights()
            self._ask("/reset_prefix_cache", {})
        if process_count() > 1:
            dist.barrier()

    def close(self) -> None:
        if self._transfer is not None:
            self._transfer.shutdown()
        self._model = self._transfer = None

    def generate(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seed: int,
        on_finished: OnFinished = ignore_finished,
    ) -> list[list[Completion]]:
        if self._model is None:
            self.bind(policy)
        groups: list[list[Completion]] = [[] for _ in prompts]
        late = self._rescores(sampling)
        for place, choices in self._answers(self._bodies(policy, prompts, sampling, seed)):
            groups[place] = [_completion(policy, choice) for choice in choices]
            if not late:
                on_finished([(place, completion) for completion in groups[place]])
        groups = self._settled(policy, prompts, groups, sampling)
        if late:
            hand_over(groups, on_finished)
        return groups

    def _bodies(
        self, policy: Policy, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int
    ) -> list[dict[str, Any]]:
        shared = {
            "model": self._model,
            "n": sampling.completions,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": sorted(policy.stop_ids),
            "ignore_eos": True,  # the stop tokens are the policy's, and these alone
            "logprobs": 0,  # of the drawn token
            "return_token_ids": True,
        }
        # vLLM adds its index to a sibling's seed.
        return [
            {**shared, "prompt": list(prompt), "seed": own}
            for prompt, own in zip(prompts, seeds(seed, len(prompts)), strict=True)
        ]

    def _answers(self, bodies: list[dict[str, Any]]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Groups with the index of their prompt, as they end."""
        with ThreadPoolExecutor(self.concurrency) as pool:
            places = {pool.submit(self._ask, "/v1/completions", body): i for i, body in enumerate(bodies)}
            try:
                for future in as_completed(places):
                    choices = sorted(future.result()["choices"], key=lambda choice: choice["index"])
                    yield places[future], choices
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The server's answer; GET without a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            raise SetupError(
                f"{self.url}{path} answered {error.code}: {said}. Expected a vLLM server that was started with: {START}"
            ) from error
        except OSError as error:
            raise SetupError(
                f"No answer from {self.url}{path} ({error}). Set --engine.url, and start the server with: {START}"
            ) from error


def _first() -> bool:
    return process_count() == 1 or dist.get_rank() == 0


def _completion(policy: Policy, choice: dict[str, Any]) -> Completion:
    check_ended(choice["finish_reason"])
    return made(policy, choice["token_ids"], choice["logprobs"]["token_logprobs"])
