"""`clme dataset`: the stages of a dataset's construction, one command each."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from clme.datasets.services import Service
    from clme.datasets.settings import DatasetSettings

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
LOCK = Path("workflow/locks/hub.json")
LOCK_HELP = "Where revisions and checksums are recorded at the first download."

Command = Callable[..., Any]


@click.group()
def dataset() -> None:
    """Build a dataset of the benchmark, stage by stage.

    The stages, in order: download, extract, filter, grade (CNLE), deduplicate, split, embed, rephrase,
    neighbours, cases. Each reads and writes files, so that each can be rerun alone.
    """


def _name(command: Command) -> Command:
    return click.option("--name", required=True, help="The dataset's name; it belongs to the seeds.")(command)


def _settings(command: Command) -> Command:
    text = 'The dataset\'s settings as JSON, such as {"task": "csne", "source": "pypi", "encoder": "minilm"}.'
    return click.option("--settings", required=True, help=text)(command)


def _seed(command: Command) -> Command:
    return click.option("--seed", type=int, default=0, show_default=True, help="The study's seed.")(command)


def _folds(command: Command) -> Command:
    return click.option("--folds", type=click.IntRange(1), default=2, show_default=True)(command)


def _encoder(command: Command) -> Command:
    text = "Folder of the embedding model."
    return click.option("--encoder", "encoder_folder", type=FOLDER, required=True, help=text)(command)


def _embedding(command: Command) -> Command:
    kinds = click.Choice(["mean", "cls"])
    pooling = click.option("--pooling", type=kinds, default="mean", show_default=True, help="How it embeds.")
    return _encoder(pooling(command))


def _service(command: Command) -> Command:
    text = 'A language-model service as JSON, such as {"base_url": "http://localhost:8000/v1", "model": "x"}.'
    service = click.option("--service", help=text)
    cache = click.option("--cache", type=FILE, help="SQLite file of the service's answers.")
    dry = click.option(
        "--dry-run", is_flag=True, help="Only say what the service would be asked, and its cost."
    )
    return service(cache(dry(command)))


def _published(command: Command) -> Command:
    text = "CSV of the paper's Table III, for the card."
    return click.option("--published", type=FILE, required=True, help=text)(command)


def _output(command: Command) -> Command:
    return click.option("--output", type=FILE, required=True, help="File to be written.")(command)


def _parsed(settings: str) -> "DatasetSettings":
    from clme.datasets.settings import DatasetSettings
    from clme.study.settings import parse

    return parse(DatasetSettings, settings)


def _asked(
    service: str | None, cache: Path | None, dry_run: bool, tokens: int, prompts: Callable[[], list[str]]
) -> "Service | None":
    """Return the service that is to be asked, after saying what that would cost; None if none is named."""
    if service is None:
        if dry_run:
            click.echo("no service is asked")
        return None
    from clme.datasets.services import Service
    from clme.datasets.settings import ServiceSettings
    from clme.errors import UserError
    from clme.study.settings import parse

    if cache is None:
        raise UserError("--cache: is needed with --service")
    found = Service(parse(ServiceSettings, service), cache, tokens)
    click.echo(str(found.estimate(prompts())))
    return found


def _write(output: Path, frame: Any, schema: Any, **metadata: str) -> None:
    from clme.files import write_parquet

    write_parquet(output, frame, schema=schema, metadata=metadata)
    click.echo(f"{output}: {len(frame)} rows")


@dataset.command()
@click.option("--source", required=True, help="A source's name, such as pypi.")
@click.option("--lock", type=FILE, default=LOCK, show_default=True, help=LOCK_HELP)
@click.option("--zenodo", default="https://zenodo.org", show_default=True, help="Zenodo, or a mirror of it.")
@click.option("--output", "folder", type=FOLDER, required=True, help="Folder for the raw material.")
def download(source: str, lock: Path, zenodo: str, folder: Path) -> None:
    """Download a source's raw material, checked by its checksums; what is there already is kept.

    HF_ENDPOINT names a mirror of the hub, pip's own configuration one of the package index.
    """
    from clme.datasets.sources import Access
    from clme.datasets.sources import source as named

    named(source).download(folder, Access(lock, zenodo.rstrip("/")))


@dataset.command()
@click.argument("corpus", type=FOLDER)
@_name
@_settings
@_seed
@_output
def extract(corpus: Path, name: str, settings: str, seed: int, output: Path) -> None:
    """Read the pairs of a source from its raw material in the folder CORPUS."""
    from clme.datasets import stages
    from clme.datasets.schema import PAIRS
    from clme.datasets.sources import materials_as_json, source

    parsed = _parsed(settings)
    pairs = stages.extract(corpus, name, parsed, seed)
    _write(output, pairs, PAIRS, materials=materials_as_json(source(parsed.source).materials(corpus, parsed)))


@dataset.command("filter")
@click.argument("pairs", type=FILE)
@_settings
@_encoder
@_output
def filter_pairs(pairs: Path, settings: str, encoder_folder: Path, output: Path) -> None:
    """Leave out PAIRS that don't parse, are empty or too long."""
    from clme.datasets import stages
    from clme.datasets.encoder import Encoder
    from clme.datasets.schema import PAIRS
    from clme.files import read_parquet

    count = Encoder(encoder_folder).counts
    _write(output, stages.keep_usable(read_parquet(pairs, schema=PAIRS), _parsed(settings), count), PAIRS)


@dataset.command()
@click.argument("pairs", type=FILE)
@_service
@_embedding
@_output
def grade(
    pairs: Path,
    service: str | None,
    cache: Path | None,
    dry_run: bool,
    encoder_folder: Path,
    pooling: str,
    output: Path,
) -> None:
    """Grade the relevance of intent and code of all PAIRS in five levels, by a service or by the encoder.

    The hand-labelled pairs are graded, too: OUTPUT's metadata say how well the grader agrees with them.
    """
    import json
    from functools import partial

    import pandas as pd

    from clme.datasets import agreement, grading
    from clme.datasets.encoder import Encoder
    from clme.datasets.schema import GRADED, PAIRS
    from clme.files import read_parquet

    frame = read_parquet(pairs, schema=PAIRS)
    both = pd.concat([agreement.labels(), frame])
    asked = _asked(service, cache, dry_run, grading.GRADE_TOKENS, lambda: grading.prompts(both))
    if dry_run:
        return
    if asked is None:
        by = partial(grading.grade, encoder=Encoder(encoder_folder, pooling))
    else:
        by = partial(grading.grade_by_service, service=asked)
    # The labelled ones first: a grader that can't grade is known after a hundred answers.
    agreed = agreement.measure(by)
    _write(output, by(frame), GRADED, agreement=json.dumps(agreed))


@dataset.command()
@click.argument("pairs", type=FILE)
@_output
def deduplicate(pairs: Path, output: Path) -> None:
    """Keep one of the PAIRS with the same input; of graded ones, only Very Relevant ones."""
    from clme.datasets import grading, stages
    from clme.datasets.schema import PAIRS
    from clme.files import read_parquet

    frame = read_parquet(pairs)
    kept = grading.relevant(frame) if "grade" in frame else frame
    _write(output, stages.deduplicate(kept), PAIRS)


@dataset.command()
@click.argument("pairs", type=FILE)
@_name
@_settings
@_seed
@_output
def split(pairs: Path, name: str, settings: str, seed: int, output: Path) -> None:
    """Part PAIRS into targeted and non-targeted ones."""
    from clme.datasets import stages
    from clme.datasets.schema import PAIRS, SPLIT
    from clme.files import read_parquet

    frame = stages.split(read_parquet(pairs, schema=PAIRS), name, _parsed(settings), seed)
    _write(output, frame, SPLIT)


@dataset.command()
@click.argument("pairs", type=FILE)
@_embedding
@_output
def embed(pairs: Path, encoder_folder: Path, pooling: str, output: Path) -> None:
    """Embed the inputs of all PAIRS: a NumPy file with one unit vector per row."""
    import numpy as np

    from clme.datasets.encoder import Encoder
    from clme.files import atomic, read_parquet

    vectors = Encoder(encoder_folder, pooling).embed(read_parquet(pairs)["input"].tolist(), "embed inputs")
    with atomic(output) as temporary:
        np.save(temporary, vectors)


@dataset.command()
@click.argument("pairs", type=FILE)
@_name
@_settings
@_folds
@_seed
@_service
@_embedding
@click.option("--masked-model", type=FOLDER, help="Folder of a masked model that proposes variables' names.")
@_output
def rephrase(
    pairs: Path,
    name: str,
    settings: str,
    folds: int,
    seed: int,
    service: str | None,
    cache: Path | None,
    dry_run: bool,
    encoder_folder: Path,
    pooling: str,
    masked_model: Path | None,
    output: Path,
) -> None:
    """Rephrase the targeted PAIRS: intents are rewritten, variables of functions renamed."""
    from clme.datasets import rephrasing
    from clme.datasets.encoder import Encoder
    from clme.datasets.masked import MaskedModel
    from clme.datasets.schema import REPHRASES, SPLIT
    from clme.files import read_parquet

    frame = read_parquet(pairs, schema=SPLIT)
    intents = _parsed(settings).task == "cnle"
    asked = _asked(
        service if intents else None,
        cache,
        dry_run,
        rephrasing.REWRITE_TOKENS,
        lambda: rephrasing.prompts(frame),
    )
    if dry_run:
        return
    if asked is not None:
        found = rephrasing.rewrite_by_service(frame, asked)
    elif intents:
        found = rephrasing.rewrite_intents(frame, name, folds, seed)
    elif masked_model is not None:
        found = rephrasing.rename_by_masked_model(frame, MaskedModel(masked_model))
    else:
        found = rephrasing.rename_variables(frame, Encoder(encoder_folder, pooling))
    _write(output, found, REPHRASES)


@dataset.command()
@click.argument("pairs", type=FILE)
@click.argument("rephrases", type=FILE)
@click.argument("embeddings", type=FILE)
@_settings
@_output
def neighbours(pairs: Path, rephrases: Path, embeddings: Path, settings: str, output: Path) -> None:
    """Find the nearest non-targeted PAIRS of each targeted one that has a rephrase."""
    import numpy as np

    from clme.datasets import cases
    from clme.datasets.schema import MEMBERS, NEIGHBOURS, REPHRASES
    from clme.files import read_parquet

    # Without the texts, which would take their memory beside the vectors'.
    split_pairs, rewritten = read_parquet(pairs, schema=MEMBERS), read_parquet(rephrases, schema=REPHRASES)
    found = cases.find_neighbours(split_pairs, rewritten, np.load(embeddings), _parsed(settings).neighbours)
    _write(output, found, NEIGHBOURS)


@dataset.command("cases")
@click.argument("stages", type=FOLDER)
@_name
@_settings
@_folds
@_seed
@_encoder
@_published
@_output
def make_cases(
    stages: Path,
    name: str,
    settings: str,
    folds: int,
    seed: int,
    encoder_folder: Path,
    published: Path,
    output: Path,
) -> None:
    """Put the results of the other stages (in the folder STAGES) together: the cases and their card.

    Beside OUTPUT, the card README.md, stages.json (pairs that passed) and statistics.json (grades, their
    agreement with hand labels, lengths) are written.
    """
    from clme.datasets import cases, finished
    from clme.datasets.encoder import Encoder
    from clme.datasets.schema import NEIGHBOURS, REPHRASES, SPLIT
    from clme.files import read_parquet

    parsed = _parsed(settings)
    split_pairs = read_parquet(stages / "split.parquet", schema=SPLIT)
    rewritten = read_parquet(stages / "rephrase.parquet", schema=REPHRASES)
    near = read_parquet(stages / "neighbours.parquet", schema=NEIGHBOURS)
    frame = cases.assemble(split_pairs, rewritten, near, name, parsed, folds)
    past = finished.history(stages, split_pairs, frame, parsed)
    finished.write(output, name, parsed, seed, frame, past, Encoder(encoder_folder), published)
    click.echo(f"{output}: {len(frame)} rows")


@dataset.command()
@click.argument("archive", type=FOLDER)
@_name
@_settings
@_folds
@_seed
@_encoder
@_published
@_output
def released(
    archive: Path,
    name: str,
    settings: str,
    folds: int,
    seed: int,
    encoder_folder: Path,
    published: Path,
    output: Path,
) -> None:
    """Read the finished cases of the authors' ARCHIVE (a folder of its files).

    Beside OUTPUT, the card README.md, stages.json, statistics.json and the unedited models' outputs
    unedited.parquet are written.
    """
    from clme.datasets import finished
    from clme.datasets.encoder import Encoder
    from clme.datasets.released import Released
    from clme.datasets.schema import UNEDITED

    parsed = _parsed(settings)
    source = Released()
    found = source.read(archive, name, parsed, seed, folds)
    _write(output.with_name("unedited.parquet"), found.unedited, UNEDITED, dataset=name)
    passed = {"extract": found.read, "cases": len(found.cases)}
    past = finished.History(passed, source.materials(archive, parsed))
    finished.write(output, name, parsed, seed, found.cases, past, Encoder(encoder_folder), published)
    click.echo(f"{output}: {len(found.cases)} rows")


@dataset.command()
@click.argument("edits", type=FILE, nargs=-1, required=True)
@_encoder
@_output
def answers(edits: tuple[Path, ...], encoder_folder: Path, output: Path) -> None:
    """Measure what unedited models say to the neighbours (EDITS: one editor's results, all models and folds).

    The last line of the paper's Table III, as JSON.
    """
    import json

    import pyarrow as pa

    from clme.datasets import card
    from clme.datasets.encoder import Encoder
    from clme.files import read_parquet, write_text

    column = pa.schema([pa.field("specificity_expected", pa.list_(pa.string()))])
    texts = [
        text
        for path in edits
        for answers in read_parquet(path, schema=column)["specificity_expected"]
        for text in answers
    ]
    measured = card.length("specificity_target", texts, Encoder(encoder_folder))
    write_text(output, json.dumps(measured, indent=2) + "\n")
