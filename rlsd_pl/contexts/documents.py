"""Documents of one's own as privileged text."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from rlsd_pl.contexts.base import ProblemContext, Tokenizer
from rlsd_pl.types import Problem


class DocumentsContext(ProblemContext):
    """r is a team's own text files: those whose names a problem lists, cut to a token budget.

    Args:
        folder: holds the files.
        field: key into ``Problem.privileged``; the value lists file names, one per line.
        max_tokens: most tokens of all files together, by the policy's tokenizer.
        template, place, instruction: see :class:`Context`.
    """

    words = """\
You have been given the following documents, which the reader of your reply does not have:
<documents>
{{ privileged }}
</documents>
Reply as if you knew this yourself, step by step, without mentioning the documents."""

    def __init__(self, folder: str, field: str = "documents", max_tokens: int = 2000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if max_tokens < 1:
            raise ValueError(f"Got context.max_tokens={max_tokens}; expected at least 1.")
        self.folder, self.field, self.max_tokens = Path(folder).expanduser().resolve(), field, max_tokens
        if not self.folder.is_dir():
            raise ValueError(f"Got context.folder={folder}; expected an existing folder of text files.")
        self.tokenizer: Tokenizer | None = None
        self._shown = lru_cache(maxsize=4096)(self._read)

    @property
    def source(self) -> str:
        return f"a file of {self.folder} named in Problem.privileged[{self.field!r}]"

    def bind(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def text(self, problem: Problem) -> str | None:
        """``None`` also where a file is missing or lies outside the folder."""
        return self._shown(problem.privileged.get(self.field, ""))

    def _read(self, listed: str) -> str | None:
        if self.tokenizer is None:
            raise RuntimeError("A DocumentsContext counts tokens; call bind(tokenizer) first.")
        names = [name.strip() for name in listed.splitlines() if name.strip()]
        files = [(self.folder / name).resolve() for name in names]
        if not all(file.is_file() and file.is_relative_to(self.folder) for file in files):
            return None
        return cut("\n\n".join(file.read_text(encoding="utf-8") for file in files), self.max_tokens, self.tokenizer)


def cut(text: str, max_tokens: int, tokenizer: Tokenizer) -> str:
    """The beginning of a text in at most ``max_tokens`` tokens, ended between words where there is room for one."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) <= max_tokens:
        return text
    kept = tokenizer.decode(ids[:max_tokens], skip_special_tokens=True).rstrip("\ufffd")
    if not tokenizer.decode(ids[max_tokens : max_tokens + 1])[:1].isspace():
        kept = re.sub(r"\S+$", "", kept).rstrip() or kept
    return kept.rstrip()
