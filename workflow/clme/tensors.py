"""Files of tensors (safetensors) with their provenance as text."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clme.errors import UserError
from clme.files import atomic

# One key: the library writes several in an order that changes from run to run, and with it the checksum.
_KEY = "clme"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and their provenance, atomically; the same content gives the same bytes.

    Args:
        path: the file.
        tensors: by name.
        metadata: as JSON has it; stored as one text under the key ``clme``.

    Raises:
        UserError: the path can't be written.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as temporary:
        save_file(kept, temporary, metadata={_KEY: json.dumps(dict(metadata), sort_keys=True)})


def read_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Read all tensors of a file.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def read_tensor_metadata(path: Path) -> dict[str, Any]:
    """Read the provenance of a file without its tensors.

    Raises:
        UserError: the file is missing, damaged, or of another origin.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            found: dict[str, Any] = json.loads((stored.metadata() or {})[_KEY])
            return found
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    if not Path(path).exists():
        return UserError(f"{path}: no such file; run the rule that makes it (`snakemake {path}`)")
    return UserError(f"{path}: not a readable file of tensors ({error!r}); delete it and rerun its rule")
