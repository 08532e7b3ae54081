"""Results as one archive: what exhibits are made from, with checksums and an RO-Crate."""

import json
import tempfile
import zipfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from rocrate.rocrate import ROCrate

import clme
from clme.errors import UserError
from clme.files import atomic, sha256_file
from clme.publish import exhibits
from clme.publish.results import Results
from clme.study.mixture import refuse_mixture

CHECKSUMS = "checksums.sha256"
CRATE = "ro-crate-metadata.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_KINDS = {".parquet": "application/vnd.apache.parquet", ".json": "application/json", ".md": "text/markdown"}


def pack(results: Results, output: Path) -> list[str]:
    """Write an archive (zip) of all that the study's exhibits are made from; equal results give equal bytes.

    Args:
        results: of a finished run.
        output: the archive.

    Returns:
        The names of the result files in it.

    Raises:
        UserError: a result is missing, or results of different studies are mixed.
    """
    names = _contents(results)
    for name in names:
        if not (results.folder / name).exists():
            path = results.folder / name
            raise UserError(f"{path}: no such file; run the rule that makes it (`snakemake {path}`)")
    refuse_mixture([results.folder / name for name in exhibits.inputs(results.study, "edits")])
    lines = [f"{sha256_file(results.folder / name)}  {name}" for name in names]
    with atomic(output) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            _write(archive, name, (results.folder / name).read_bytes())
        _write(archive, CHECKSUMS, "".join(f"{line}\n" for line in lines).encode())
        _write(archive, CRATE, _crate(results, names))
    return names


def unpack(archive: Path, output: Path) -> list[str]:
    """Unpack an archive into a folder and check each file against its checksum.

    Returns:
        The names of the result files.

    Raises:
        UserError: it isn't such an archive, a file is damaged, missing or not in the list, or the folder
            holds other results.
    """
    try:
        with zipfile.ZipFile(archive) as stored:
            listed = _listed(stored, archive)
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                for one in listed:
                    stored.extract(one, folder)
                    if sha256_file(folder / one) != listed[one]:
                        raise UserError(f"{archive}: {one} is damaged (its checksum differs); get it anew")
                _refuse_others(folder, output, archive)
                for one in listed:
                    with atomic(output / one) as temporary:
                        temporary.write_bytes((folder / one).read_bytes())
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UserError(f"{archive}: not a readable archive of results ({error}); get it anew") from error
    return list(listed)


def _listed(stored: zipfile.ZipFile, archive: Path) -> dict[str, str]:
    """Return the checksums by name; makes sure that they are of all files and lead nowhere else."""
    names = set(stored.namelist()) - {CHECKSUMS, CRATE}
    if CHECKSUMS not in stored.namelist():
        raise UserError(f"{archive}: lacks {CHECKSUMS}; make it by `clme archive`")
    lines = stored.read(CHECKSUMS).decode().splitlines()
    listed = {name: checksum for checksum, _, name in (line.partition("  ") for line in lines)}
    if set(listed) != names:
        apart = sorted(set(listed) ^ names)[0]
        raise UserError(f"{archive}: {apart} is in the list or in the archive, but not in both; get it anew")
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{archive}: {name} leads out of the folder; don't use this archive")
    return listed


def _refuse_others(unpacked: Path, output: Path, archive: Path) -> None:
    """Another study's results are never written over."""
    present, new = output / "study.json", unpacked / "study.json"
    if present.exists() and new.exists() and present.read_bytes() != new.read_bytes():
        raise UserError(
            f"{output}: holds another study's results than {archive}: unpack it elsewhere (--output)"
        )


def _contents(results: Results) -> list[str]:
    study = results.study
    used = [*exhibits.tables(study).values(), *exhibits.figures(study).values()]
    names = {path for exhibit in used for path in exhibits.files(study, exhibit)}
    names |= set(exhibits.inputs(study, "cases"))
    cards = {f"datasets/{dataset}/README.md" for dataset in study.datasets}
    extra = {"timings.parquet", "published.parquet", "numbers.json", *cards}
    return sorted(names | {name for name in extra if (results.folder / name).exists()})


def _crate(results: Results, names: Iterable[str]) -> bytes:
    """Describe the files (RO-Crate 1.1): what the study is, which files there are, what made them."""
    crate = ROCrate()
    crate.name = f"CLME results: {results.study.study}"
    models = ", ".join(results.models.values())
    crate.description = f"Model editing for language models of code: results of {models}."
    crate.license = "https://www.apache.org/licenses/LICENSE-2.0"
    made = max((results.folder / name).stat().st_mtime for name in names)
    crate.datePublished = datetime.fromtimestamp(int(made), UTC)
    software = crate.add_jsonld(
        {
            "@id": "#clme",
            "@type": "SoftwareApplication",
            "name": "clme",
            "version": clme.__version__,
        }
    )
    for name in names:
        path = results.folder / name
        crate.add_file(
            path,
            name,
            properties={
                "encodingFormat": _KINDS.get(path.suffix, "text/plain"),
                "contentSize": str(path.stat().st_size),
                "sha256": sha256_file(path),
            },
        )
    crate.root_dataset["mentions"] = software
    described = crate.metadata.generate()
    described["@graph"].sort(key=lambda entity: (entity["@id"] not in (CRATE, "./"), entity["@id"]))
    return (json.dumps(described, indent=1, sort_keys=True) + "\n").encode()


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)
