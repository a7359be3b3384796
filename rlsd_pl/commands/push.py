"""``rlsd-pl push RUN --repo_id ORG/NAME``: a run's exported model to the Hugging Face hub."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rlsd_pl.commands.help import fail

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}\nSee rlsd-pl push --help.")


def main(argv: Sequence[str], api: HfApi | None = None) -> None:
    """Parse, upload, print the address.

    Args:
        api: of the hub; one with the user's own login by default.
    """
    parser = _Parser(prog="rlsd-pl push", description=__doc__, allow_abbrev=False)
    parser.add_argument("run", type=Path, help="a finished run's folder, or one that holds a config.json itself")
    parser.add_argument("--repo_id", required=True, help="ORG/NAME; the repository is made if there is none")
    parser.add_argument("--adapter", action="store_true", help="the adapters (--export.adapter), not the merged model")
    parser.add_argument("--public", action="store_true", help="a new repository is private without it")
    parser.add_argument("--revision", help="a branch; default: main")
    options = parser.parse_args(list(argv))
    try:
        folder = exported(options.run, "adapter" if options.adapter else "hf")
        print(push(folder, options.repo_id, options.public, options.revision, api))
    except ValueError as error:
        fail(str(error))


def exported(run: Path, name: str) -> Path:
    """The folder to upload: ``run/name``, or ``run`` where it is such a folder itself.

    Raises:
        ValueError: if there is neither.
    """
    wanted = "adapter_config.json" if name == "adapter" else "config.json"
    for folder in (run / name, run):
        if (folder / wanted).is_file():
            return folder
    how = "Train with --adapter lora --export.adapter true." if name == "adapter" else "A run exports when it ends."
    raise ValueError(f"{run} holds no {name}/{wanted}, so there is nothing to upload. {how}")


def push(
    folder: Path, repo_id: str, public: bool = False, revision: str | None = None, api: HfApi | None = None
) -> str:
    """Upload a folder and return the repository's address.

    Raises:
        ValueError: if the hub refuses or cannot be reached, in one line.
    """
    from huggingface_hub import HfApi

    api = api or HfApi(library_name="rlsd_pl")
    try:
        # An existing repository keeps its visibility.
        address = api.create_repo(repo_id, private=not public, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, revision=revision, commit_message="Upload from rlsd_pl")
    except Exception as error:  # the hub's own errors, those of its HTTP library, those of the network
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{repo_id} could not be written: {reason} Log in with: hf auth login") from error
    return str(address)
