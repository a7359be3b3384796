"""Documents of one's own as privileged text."""

from __future__ import annotations

import re
from pathlib import Path

from rlsd_pl.contexts.base import ProblemContext
from rlsd_pl.types import Problem

DOCUMENTS_TEMPLATE = """\
{{ prompt }}

You have been given the following documents, which the reader of your reply does not have:
<documents>
{{ privileged }}
</documents>
Reply as if you knew this yourself, step by step, without mentioning the documents."""


class DocumentsContext(ProblemContext):
    """r is a team's own text files: those whose names a problem lists, cut to a budget.

    Args:
        folder: holds the files.
        field: key into ``Problem.privileged``; the value lists file names, one per line.
        max_characters: most characters of all files together; about four make a token of English prose.
        template: see :class:`Context`.
    """

    def __init__(
        self, folder: str, field: str = "documents", max_characters: int = 8000, template: str = DOCUMENTS_TEMPLATE
    ) -> None:
        super().__init__(template)
        if max_characters < 1:
            raise ValueError(f"Got context.max_characters={max_characters}; expected at least 1.")
        self.folder, self.field, self.max_characters = Path(folder).expanduser().resolve(), field, max_characters
        if not self.folder.is_dir():
            raise ValueError(f"Got context.folder={folder}; expected an existing folder of text files.")

    @property
    def source(self) -> str:
        """See :meth:`ProblemContext.source`."""
        return f"a file of {self.folder} named in Problem.privileged[{self.field!r}]"

    def text(self, problem: Problem) -> str | None:
        """See :meth:`ProblemContext.text`; ``None`` also where a file is missing or lies outside the folder."""
        names = [name.strip() for name in problem.privileged.get(self.field, "").splitlines() if name.strip()]
        files = [(self.folder / name).resolve() for name in names]
        if not all(file.is_file() and file.is_relative_to(self.folder) for file in files):
            return None
        return cut("\n\n".join(file.read_text(encoding="utf-8") for file in files), self.max_characters)


def cut(text: str, max_characters: int) -> str:
    """The beginning of a text, ended between words where there is room for one."""
    if len(text) <= max_characters:
        return text
    kept = text[:max_characters]
    if text[max_characters].isspace():
        return kept.rstrip()
    return re.sub(r"\S+$", "", kept).rstrip() or kept
