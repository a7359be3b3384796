"""How checkpoints are written and read: whole or not at all, and never able to run code."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from rlsd_pl.persistence.checkpoints import CheckpointError, file_digest, sums_file, write_sums
from rlsd_pl.persistence.storage import remove, replacing, sync

SHARD_METADATA = ".metadata"
"""Of a sharded checkpoint: which shard holds what, as a pickle."""

_FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


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
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(f"{path} holds more than tensors and plain values; it is not loaded.") from error
        except (RuntimeError, EOFError) as error:
            raise CheckpointError(f"{path} is no whole checkpoint: {str(error).splitlines()[0]}") from error

    def remove_checkpoint(self, path: Any) -> None:
        remove(Path(path))
        remove(sums_file(Path(path)))


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
        torch.save(checkpoint, cast(BinaryIO, writer))
    except RuntimeError:
        if writer.error is not None:
            raise writer.error from None
        raise


# --- sharded checkpoints ---------------------------------------------------------------------------------------------


def own_digests(folder: Path, target: str, rank: int) -> dict[str, str]:
    """Checksums of the files that a process has written into a sharded checkpoint, once they are on the disk.

    Args:
        target: name that the folder will have.
        rank: of the process; the first one has also written what all share.
    """
    digests: dict[str, str] = {}
    for path in folder.iterdir():
        written_by = re.match(r"__(\d+)_", path.name)
        if (int(written_by[1]) if written_by else 0) == rank:
            sync(path)
            digests[f"{target}/{path.name}"] = file_digest(path)
    return digests


def put_in_place(partial: Path, target: Path, digests: dict[str, str]) -> None:
    """Give a sharded checkpoint that is on the disk its name."""
    sync(partial)
    write_sums(target, digests)
    remove(target)
    partial.rename(target)
    sync(target.parent)


@contextmanager
def tensors_only(checkpoint: Path) -> Iterator[None]:
    """Read a sharded checkpoint without running what its pickles ask for.

    torch reads the metadata with the full pickle protocol and other values with ``weights_only=False``.

    Raises:
        CheckpointError: if the metadata names anything but the classes that describe tensors.
    """
    refuse_code(checkpoint / SHARD_METADATA)
    before = os.environ.get(_FORCED)
    os.environ[_FORCED] = "1"
    try:
        yield
    finally:
        os.environ.pop(_FORCED)
        if before is not None:
            os.environ[_FORCED] = before


def refuse_code(metadata: Path) -> None:
    """Refuse a sharded checkpoint's metadata that does more than describe tensors.

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
