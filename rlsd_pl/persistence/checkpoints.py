"""The checkpoints of a run: their names, checksums, which of them to load and which to delete. Loads no torch."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path

from rlsd_pl.persistence.storage import PARTIAL, remove, write_text

log = logging.getLogger(__name__)

SUMS = ".sha256"
"""Ending of the file beside a checkpoint that ``sha256sum --check`` reads."""

NAME = re.compile(r"iteration-(\d+)\.ckpt")


class CheckpointError(ValueError):
    """A checkpoint that cannot be used."""


# --- checksums -------------------------------------------------------------------------------------------------------


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(checkpoint: Path, digests: dict[str, str]) -> None:
    """Record checksums beside a checkpoint.

    Args:
        digests: by path relative to the checkpoint's folder.
    """
    write_text(sums_file(checkpoint), "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; ``None`` if every byte is as it was written.

    Without recorded checksums, as in runs of earlier versions, nothing can be said and nothing is.
    """
    recorded = sums_file(checkpoint)
    if not recorded.exists():
        log.warning("%s has no checksums beside it; it is loaded unverified.", checkpoint)
        return None
    for line in recorded.read_text(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        path = checkpoint.parent / name
        if not path.is_file():
            return f"{path.name} is missing"
        if file_digest(path) != digest:
            return f"the checksum of {path.name} is not the recorded one"
    return None


def sums_file(checkpoint: Path) -> Path:
    """Where the checksums of a checkpoint are recorded."""
    return checkpoint.with_name(checkpoint.name + SUMS)


# --- the checkpoints of a run ----------------------------------------------------------------------------------------


def iteration_of(checkpoint: Path) -> int:
    """The iteration that a checkpoint was written after, from its name."""
    match = NAME.fullmatch(checkpoint.name)
    assert match is not None
    return int(match[1])


def checkpoint_path(folder: Path, iteration: int) -> Path:
    """Where the checkpoint of an iteration lies in a folder of checkpoints."""
    return folder / f"iteration-{iteration:06d}.ckpt"


def saved(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the latest iteration first. Names stand for whole files; half ones have none."""
    found = [path for path in folder.glob("*.ckpt") if NAME.fullmatch(path.name)]
    return sorted(found, key=iteration_of, reverse=True)


def newest_good(folder: Path) -> Path:
    """The latest checkpoint in a folder that its checksums confirm. Says which later ones are passed over.

    Raises:
        CheckpointError: if there is none.
    """
    damaged: list[str] = []
    for checkpoint in saved(folder):
        reason = damage(checkpoint)
        if reason is None:
            for text in damaged:
                log.warning(
                    "%s. Going on from iteration %d; later iterations are trained again.",
                    text,
                    iteration_of(checkpoint),
                )
            return checkpoint
        damaged.append(f"The checkpoint {checkpoint} is damaged: {reason}")
    if damaged:
        raise CheckpointError(f"{'. '.join(damaged)}. No older one is left; the run has to be started again.")
    raise CheckpointError(f"{folder} holds no checkpoint.")


def prune(folder: Path, keep: int) -> None:
    """Delete all but the ``keep`` latest checkpoints, and what interrupted writes have left.

    Only files that this module writes are touched.
    """
    for checkpoint in saved(folder)[keep:]:
        remove(checkpoint)
    kept = {path.name for path in saved(folder)}
    for path in folder.iterdir():
        orphaned = path.name.endswith(SUMS) and NAME.fullmatch(path.name.removesuffix(SUMS))
        if path.name.endswith(PARTIAL) or (orphaned and path.name.removesuffix(SUMS) not in kept):
            remove(path)
