"""Checkpoints with checksums: written whole or not at all, verified before they are loaded, never able to run code."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from rlsd_pl.persistence.storage import PARTIAL, remove, replacing, write_text

log = logging.getLogger(__name__)

SUMS = ".sha256"
"""Ending of the file beside a checkpoint that ``sha256sum --check`` reads."""

SHARD_METADATA = ".metadata"
"""Of a sharded checkpoint: which shard holds what, as a pickle."""

NAME = re.compile(r"iteration-(\d+)\.ckpt")

_CHUNK = 2**22


class CheckpointError(ValueError):
    """A checkpoint that cannot be used."""


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, with a checksum, and renames it when it is on the disk.

    Lightning's own writes to TMPDIR and moves, which across file systems is a copy that can stop halfway.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """The checksum is in place before the checkpoint is: whatever carries a checkpoint's name can be verified."""
        if storage_options is not None:
            raise TypeError(f"{type(self).__name__} takes no storage_options; got {storage_options!r}.")
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            writer = _HashingWriter(file)
            _save(checkpoint, writer)
            write_sums(target, {target.name: writer.digest.hexdigest()})

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Tensors and plain values only, whatever ``weights_only`` says: a checkpoint may be somebody else's."""
        return torch.load(path, map_location=map_location, weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        remove(Path(path))
        remove(_sums_file(Path(path)))


class _HashingWriter:
    """What ``torch.save`` writes to. Keeps the file's own error, which torch replaces by one of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
            raise
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        self.file.flush()


def _save(checkpoint: dict[str, Any], writer: _HashingWriter) -> None:
    try:
        torch.save(checkpoint, writer)
    except RuntimeError:
        if writer.error is not None:
            raise writer.error from None
        raise


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
    write_text(_sums_file(checkpoint), "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; ``None`` if every byte is as it was written.

    Without recorded checksums, as in runs of earlier versions, nothing can be said and nothing is.
    """
    recorded = _sums_file(checkpoint)
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


def _sums_file(checkpoint: Path) -> Path:
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
        if path.name.startswith(PARTIAL) or (orphaned and path.name.removesuffix(SUMS) not in kept):
            remove(path)


# --- sharded checkpoints ---------------------------------------------------------------------------------------------


def refuse_code(metadata: Path) -> None:
    """Refuse a sharded checkpoint's metadata that does more than describe tensors.

    torch reads that file with the full pickle protocol, which can call any function.

    Raises:
        CheckpointError: if it names anything but the classes that describe tensors.
    """
    with metadata.open("rb") as file:
        try:
            _DescriptionsOnly(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, ImportError) as error:
            raise CheckpointError(f"{metadata} is not a description of tensors: {error}.") from error


class _DescriptionsOnly(pickle.Unpickler):
    NAMES = {
        "torch": {"Size", "device"},
        "torch.serialization": {"_get_layout"},
        "collections": {"OrderedDict"},
        "pathlib": {"PosixPath"},
        "pathlib._local": {"PosixPath"},
        "torch.distributed.checkpoint.filesystem": {"_StorageInfo", "_StoragePrefix"},
        "torch.distributed.checkpoint.metadata": {
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "Metadata",
            "MetadataIndex",
            "StorageMeta",
            "TensorProperties",
            "TensorStorageMetadata",
            "_MEM_FORMAT_ENCODING",
        },
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if global_name in self.NAMES.get(module_name, ()):
            return super().find_class(module_name, global_name)
        if module_name == "torch" and isinstance(getattr(torch, global_name, None), torch.dtype):
            return getattr(torch, global_name)
        raise pickle.UnpicklingError(f"it refers to {module_name}.{global_name}")


def own_shards(folder: Path, rank: int) -> Iterable[Path]:
    """The files of a sharded checkpoint that a process has written; the first one also writes what all share."""
    for path in folder.iterdir():
        written_by = re.match(r"__(\d+)_", path.name)
        if (int(written_by[1]) if written_by else 0) == rank:
            yield path
