"""Who proposes solutions: a policy through an engine, or a service that speaks the OpenAI chat protocol."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rlsd_pl.engines import Engine
from rlsd_pl.policy import Policy
from rlsd_pl.types import Message, Sampling

RETRIES = 4
_RETRIED = {408, 409, 429, 500, 502, 503, 504}


class EndpointError(RuntimeError):
    """The service gave no usable reply."""


class Source(ABC):
    """Proposes completions of chats."""

    @abstractmethod
    def propose(self, chats: Sequence[Sequence[Message]], seed: int) -> list[list[str]]:
        """Texts for each chat, in order; how many is the source's own affair."""

    def close(self) -> None:  # noqa: B027
        """Release processes."""


class EngineSource(Source):
    """Samples from a policy of this project.

    Args:
        policy: the model; any size, it need not be the one that is trained later.
        engine: how it samples.
        sampling: how many completions per problem, and how long.
    """

    def __init__(self, policy: Policy, engine: Engine, sampling: Sampling) -> None:
        self.policy, self.engine, self.sampling = policy, engine, sampling

    def propose(self, chats: Sequence[Sequence[Message]], seed: int) -> list[list[str]]:
        """Completions that the token limit cut are left out."""
        prompts = [self.policy.encode(chat) for chat in chats]
        groups = self.engine.generate(self.policy, prompts, self.sampling, seed)
        return [[c.text for c in group if not c.truncated] for group in groups]


class EndpointSource(Source):
    """Asks ``URL/chat/completions`` of an OpenAI-compatible service.

    Args:
        url: base address, for example ``http://127.0.0.1:8000/v1``.
        model: the service's name of the model.
        sampling: completions per problem, their length, temperature.
        key: sent as bearer token where given.
        seconds: time for one reply.
        concurrency: requests in flight.
        pause: seconds before the first repeat of a refused request; doubles each time.
    """

    def __init__(
        self,
        url: str,
        model: str,
        sampling: Sampling,
        key: str | None = None,
        seconds: float = 600.0,
        concurrency: int = 8,
        pause: float = 1.0,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"Got --endpoint {url!r}; expected http:// or https://.")
        self.url = url.rstrip("/") + "/chat/completions"
        self.model, self.sampling, self.seconds = model, sampling, seconds
        self.headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self.concurrency, self.pause = concurrency, pause

    def propose(self, chats: Sequence[Sequence[Message]], seed: int) -> list[list[str]]:
        """Raises:
        EndpointError: if the service refuses, or keeps failing.
        """
        with ThreadPoolExecutor(self.concurrency) as threads:
            return list(threads.map(lambda chat: self._ask(chat, seed), chats))

    def _ask(self, chat: Sequence[Message], seed: int) -> list[str]:
        sampling = self.sampling
        asked = {
            "model": self.model,
            "messages": [dict(message) for message in chat],
            "n": sampling.completions,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": seed % 2**31,
        }
        reply = self._post(json.dumps(asked).encode())
        try:
            return [c["message"]["content"] for c in reply["choices"] if c.get("finish_reason") != "length"]
        except (KeyError, TypeError):
            raise EndpointError(f"{self.url} sent no choices: {str(reply)[:200]}") from None

    def _post(self, body: bytes) -> Any:
        attempt = 0
        while True:
            request = urllib.request.Request(self.url, body, self.headers)
            try:
                with urllib.request.urlopen(request, timeout=self.seconds) as response:
                    return json.loads(response.read())
            except (OSError, ValueError) as error:
                refused = isinstance(error, urllib.error.HTTPError) and error.code not in _RETRIED
                if refused or attempt == RETRIES - 1:
                    raise EndpointError(f"{self.url}: {error}") from None
            time.sleep(self.pause * 2**attempt)
            attempt += 1
