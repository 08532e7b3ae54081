"""Second moments in the layout of ROME, MEMIT and EasyEdit: one NumPy file per layer.

Such a file holds the sum of k k^T (``mom2.mom2``), the number of tokens (``mom2.count``), the class that
wrote it (``mom2.constructor``) and the number of texts (``sample_size``); its name is that of the module,
followed by precision, statistics and number of texts:
``model.layers.4.mlp.down_proj_float32_mom2_100000.npz``.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clme.errors import UserError
from clme.files import atomic, sha256_file
from clme.models.decoder import Decoder, Site
from clme.tensors import read_tensor_metadata, read_tensors

CONSTRUCTOR = "util.runningstats.SecondMoment()"


def read_npz(
    folder: Path, decoder: Decoder, sites: Sequence[Site]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the sums of some sites.

    The layout doesn't say of which model the sums are; only their width can be checked.

    Args:
        folder: holds one file for each site, and may hold others.
        decoder: the model.
        sites: whose inputs were summed.

    Returns:
        The tensors of `clme.editors.moments.Sums`, and the checksums of the files.

    Raises:
        UserError: a site has no file or more than one, a file is damaged or of other widths, or the files
            are over different numbers of tokens.
    """
    tensors: dict[str, Tensor] = {}
    checksums: dict[str, str] = {}
    for site in sites:
        path = _find(folder, site)
        total, count = _read(path)
        width = decoder.linear(site).in_features
        if total.shape != (width, width):
            raise UserError(f"{path}: is of {len(total)} inputs, {site} has {width}: it is another model's")
        if int(tensors.setdefault("tokens", torch.tensor(count))) != count:
            raise UserError(f"{path}: is over {count} tokens, the other layers' over {tensors['tokens']}")
        tensors[f"{site}.sum"] = torch.from_numpy(total)
        checksums[path.name] = sha256_file(path)
    return tensors, {"tokens": int(tensors["tokens"]), "npz_sha256": checksums}


def write_npz(path: Path, folder: Path, prefix: str, samples: int) -> list[Path]:
    """Write the sums of a file of second moments, one NumPy file for each site.

    Args:
        path: made by `clme prepare moments`.
        folder: where the files go, such as ``stats/CodeLlama-7b-hf/wikipedia_stats``.
        prefix: what stands before ``layers.4...`` in the model's module names, such as ``model.``.
        samples: the number of texts, for the file's name and content.

    Returns:
        The files.

    Raises:
        UserError: the file is missing or damaged, or a path can't be written.
    """
    tensors = read_tensors(path)
    count = int(tensors.pop("tokens"))
    written = []
    for name, total in tensors.items():
        precision = str(total.dtype).removeprefix("torch.")
        site = name.removesuffix(".sum")
        target = folder / f"{prefix}{site}_{precision}_mom2_{samples}.npz"
        fields = {"constructor": CONSTRUCTOR, "count": count, "mom2": total.numpy()}
        content: dict[str, Any] = {f"mom2.{field}": value for field, value in fields.items()}
        with atomic(target) as temporary:
            np.savez(temporary, **content, sample_size=samples)
        written.append(target)
    return written


def samples_of(path: Path) -> int:
    """Return over how many texts second moments were taken.

    Raises:
        UserError: the file doesn't say so, having been read from NumPy files itself.
    """
    metadata: Mapping[str, Any] = read_tensor_metadata(path)
    if "samples_used" not in metadata:
        raise UserError(f"{path}: doesn't say over how many texts; give --samples")
    return int(metadata["samples_used"])


def _find(folder: Path, site: Site) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected NumPy files of second moments")
    found = sorted(folder.glob(f"*{site}_*mom2*.npz"))
    if len(found) != 1:
        said = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{folder}: expected one file *{site}_*mom2*.npz, found {said}")
    return found[0]


def _read(path: Path) -> tuple[np.ndarray, int]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored["mom2.mom2"]), int(stored["mom2.count"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: holds no second moments that can be read ({error})") from error
