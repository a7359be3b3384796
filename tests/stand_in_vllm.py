"""A module with the part of vLLM's interface that the engines use, over a Hugging Face model; for tests.

Names, arguments and states are those of vLLM 0.33. What vLLM would refuse raises here: unknown arguments, requests
while asleep, loading before the weights' memory is back.
"""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    logprobs: int | None = None
    detokenize: bool = True
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE

    def __post_init__(self) -> None:
        assert self.seed is None or -(2**63) <= self.seed < 2**63
        assert self.ignore_eos, "this one knows no EOS of its own"


def tokens_input(prompt_token_ids: list[int], *, prompt: str | None = None, cache_salt: str | None = None) -> dict:
    return {"type": "token", "prompt_token_ids": prompt_token_ids}


def draw(model: Any, prompt: list[int], params: SamplingParams) -> SimpleNamespace:
    """One completion with processed log-probs: behind the temperature, top-k and top-p."""
    generator = torch.Generator().manual_seed(params.seed or 0)
    tokens: list[int] = []
    logprobs: list[dict[int, Any]] = []
    reason = "length"
    while len(tokens) < (params.max_tokens or 16):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, -1].float()
        if params.temperature:
            logits = logits / params.temperature
        if params.top_k:
            logits[logits < logits.topk(params.top_k).values[-1]] = -torch.inf
        table = logits.log_softmax(dim=-1)
        token = int(table.argmax() if not params.temperature else table.exp().multinomial(1, generator=generator))
        tokens.append(token)
        logprobs.append({token: SimpleNamespace(logprob=float(table[token]), rank=1)})
        if token in (params.stop_token_ids or []):
            reason = "stop"
            break
    return SimpleNamespace(token_ids=tokens, logprobs=logprobs, finish_reason=reason)


class Served(torch.nn.Module):
    """A model with vLLM's ``load_weights``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def named_parameters(self, *args: Any, **kwargs: Any):
        return self.inner.named_parameters(*args, **kwargs)

    @torch.no_grad()
    def load_weights(self, weights: Any) -> set[str]:
        own, loaded = dict(self.inner.named_parameters()), set()
        for name, tensor in weights:
            own[name].copy_(tensor)
            loaded.add(name)
        return loaded


@dataclass
class LLM:
    model: str
    load_format: str = "auto"
    skip_tokenizer_init: bool = False
    generation_config: str = "auto"
    logprobs_mode: str = "raw_logprobs"
    enable_sleep_mode: bool = False
    enable_prefix_caching: bool | None = None
    dtype: str = "auto"
    gpu_memory_utilization: float = 0.92
    max_model_len: int | None = None
    enforce_eager: bool = False
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.load_format == "dummy"
        assert self.logprobs_mode == "processed_logprobs"
        torch.manual_seed(0)  # as vLLM's workers do
        config = AutoConfig.from_pretrained(self.model)
        self.served = Served(AutoModelForCausalLM.from_config(config).to(getattr(torch, self.dtype))).eval()
        self.asleep: set[str] = set()
        self.llm_engine = LLMEngine(self)
        self.calls.append("start")
        MADE.append(self)

    def sleep(self, level: int = 1, mode: str = "abort") -> None:
        assert self.enable_sleep_mode
        assert not self.llm_engine.waiting, "asleep with requests under way"
        self.asleep = {"weights", "kv_cache"}
        if level == 2:
            with torch.no_grad():
                for parameter in self.served.inner.parameters():
                    parameter.zero_()
        self.calls.append(f"sleep {level}")

    def wake_up(self, tags: list[str] | None = None) -> bool:
        self.asleep -= set(tags or self.asleep)
        self.calls.append(f"wake {','.join(tags or [])}")
        return not self.asleep

    def apply_model(self, func: Any) -> list[Any]:
        assert "weights" not in self.asleep
        self.calls.append("load")
        return [func(self.served)]

    def reset_prefix_cache(self, *args: bool) -> bool:
        assert "kv_cache" not in self.asleep
        self.calls.append("reset cache")
        return True


class LLMEngine:
    """Ends the shortest prompts first, one per step, in an order that is not that of the requests."""

    def __init__(self, llm: LLM) -> None:
        self.llm, self.waiting = llm, {}
        self.engine_core = SimpleNamespace(shutdown=lambda: llm.calls.append("shutdown"))

    def add_request(self, request_id: str, prompt: Any, params: SamplingParams) -> str:
        assert not self.llm.asleep
        assert prompt["type"] == "token"
        self.waiting[request_id] = (prompt["prompt_token_ids"], params)
        return f"{request_id}-internal"

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def step(self) -> list[Any]:
        name = min(self.waiting, key=lambda name: len(self.waiting[name][0]))
        prompt, params = self.waiting.pop(name)
        return [
            SimpleNamespace(request_id=name, finished=True, outputs=[draw(self.llm.served.inner, prompt, params)]),
        ]

    def abort_request(self, request_ids: list[str], internal: bool = False) -> None:
        for name in request_ids:
            del self.waiting[name]


MADE: list[LLM] = []
"""Every LLM of this process."""


# --- the server -------------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Speaks the OpenAI completions protocol and vLLM's routes for weights, over one model."""

    def __init__(self, model: Any, workers: int = 2) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.served, self.workers, self.paths = Served(model.eval()), workers, []
        self.refuse: str | None = None
        self.loads = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        answers = {"/v1/models": {"data": [{"id": "served"}]}, "/get_world_size": {"world_size": self.server.workers}}
        self._answer(200, answers[self.path])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.paths.append(self.path)
        if self.server.refuse:
            self._answer(500, {"error": self.server.refuse})
        elif self.path == "/v1/completions":
            self._answer(200, {"choices": self._choices(body)})
        else:
            assert self.path == "/reset_prefix_cache"
            self.send_response(200)
            self.end_headers()

    def _choices(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        assert body.pop("model") == "served"
        assert body.pop("return_token_ids")
        prompt, count = body.pop("prompt"), body.pop("n")
        choices = []
        for index in reversed(range(count)):
            drawn = draw(self.server.served.inner, prompt, SamplingParams(**{**body, "seed": body["seed"] + index}))
            recorded = [at[t].logprob for at, t in zip(drawn.logprobs, drawn.token_ids, strict=True)]
            choices.append(
                {
                    "index": index,
                    "token_ids": drawn.token_ids,
                    "logprobs": {"token_logprobs": recorded},
                    "finish_reason": drawn.finish_reason,
                }
            )
        return choices

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())


# --- the trainer's side of a transfer ---------------------------------------------------------------------------------


@dataclass
class NCCLTrainerInitInfo:
    master_address: str
    master_port: int
    world_size: int
    rank: int = field(kw_only=True)


class ModuleSource:
    def __init__(self, module: Any) -> None:
        self.module = module

    @property
    def metadata(self) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        return [(name, p.dtype, tuple(p.shape)) for name, p in self.module.named_parameters()]


@dataclass
class HTTPVLLMWeightSyncClient:
    base_url: str
    timeout: float = 300


class Transfer:
    """Broadcasts into the served model of this process, in place of NCCL."""

    server: Server

    def __init__(self, init_info: NCCLTrainerInitInfo, client: HTTPVLLMWeightSyncClient, source: ModuleSource) -> None:
        assert client.base_url == self.server.url
        assert init_info.world_size == self.server.workers + 1
        assert init_info.rank == 0
        self.source, self.open = source, True

    def send_weights(self) -> None:
        sent = list(self.source.module.named_parameters())
        assert [(n, p.dtype, tuple(p.shape)) for n, p in sent] == self.source.metadata
        loaded = self.server.served.load_weights(sent)
        assert loaded == {name for name, _ in self.server.served.named_parameters()}
        self.server.loads += 1

    def shutdown(self) -> None:
        self.open = False


def modules(server: Server | None = None) -> dict[str, ModuleType]:
    """For ``sys.modules``."""
    if server is not None:
        Transfer.server = server
    contents: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": LLM, "SamplingParams": SamplingParams},
        "vllm.inputs": {"tokens_input": tokens_input},
        "vllm.sampling_params": {"SamplingParams": SamplingParams, "RequestOutputKind": RequestOutputKind},
        "vllm.utils": {},
        "vllm.utils.network_utils": {"get_ip": lambda: "127.0.0.1", "get_open_port": lambda: 29500},
        "vllm.distributed": {},
        "vllm.distributed.weight_transfer": {
            "ModuleSource": ModuleSource,
            "HTTPVLLMWeightSyncClient": HTTPVLLMWeightSyncClient,
            "WeightTransferTrainerFactory": SimpleNamespace(trainer_init=Transfer),
        },
        "vllm.distributed.weight_transfer.nccl_engine": {"NCCLTrainerInitInfo": NCCLTrainerInitInfo},
    }
    made = {}
    for name, values in contents.items():
        made[name] = ModuleType(name)
        made[name].__path__ = []  # type: ignore[attr-defined]
        vars(made[name]).update(values)
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(made[parent], own, made[name])
    return made


def install(patch: Any, server: Server | None = None) -> None:
    """Put the stand-in in the place of vLLM for as long as ``patch`` holds."""
    MADE.clear()
    for name, module in modules(server).items():
        patch.setitem(sys.modules, name, module)
