# What rules need to know of the study's configuration.

import functools
import os
from shlex import quote

from clme.editors import registry
from clme.provenance import source_hash
from clme.publish import exhibits
from clme.study import needs, shards
from clme.study.resources import JobResources
from clme.study.settings import BaselineSettings, EditSettings, Shard

TABLE_3 = SOURCE / "paper/published/table3.csv"
RESOURCES = JobResources(study, TABLE_3, Path("results"))
SHARDS = shards.numbers(study, TABLE_3)
NEEDED_SHARDS = shards.of_needed(study, TABLE_3)


# Relative: paths of the clone in what determines a job would keep its result from being shared with others.
LOCK = os.path.relpath(SOURCE / "workflow/locks/hub.json")


@functools.cache
def code(command, *modules):
    """The hash of the source of a rule's command, and of modules that it chooses: a change makes jobs stale."""
    return source_hash(f"clme.commands.{command}", *modules)


def editor_code(command, *modules):
    """The same with the editor's source, for each job."""
    return lambda wildcards: code(
        command, *modules, registry.module(study.editor(wildcards.editor))
    )


def local_files(source):
    """The names, sizes and times of files in a folder that a job reads but doesn't have as its input."""
    kind, _, folder = source.partition(":")
    if kind not in ("path", "npz"):
        return []
    files = sorted(path for path in Path(folder).glob("*") if path.is_file())
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def memory(wildcards, attempt):
    """The memory of a job that runs a language model, in MB."""
    return RESOURCES.megabytes(wildcards.model, attempt)


def minutes(work):
    """The time of such a job, by what it does."""
    return lambda wildcards, attempt: RESOURCES.minutes(
        work,
        wildcards.model,
        wildcards.get("dataset"),
        wildcards.get("editor"),
        attempt,
        int(wildcards.get("shards", 1)),
    )


def origin_options(origin):
    """The options of `clme model fetch` for a model's or an encoder's origin."""
    checksum = f" --sha256 {origin.sha256}" if origin.sha256 else ""
    return f"--source '{origin.source}'{checksum}"


def any_of(names):
    """A wildcard's pattern that fits these names only; without names, none."""
    return "|".join(map(re.escape, names)) or "(?!)"


released = [name for name, one in study.datasets.items() if one.source == "released"]
built = [name for name in study.datasets if name not in released]


def stages_of(dataset):
    """The files of a dataset's stages."""
    grade = ["grade"] if study.datasets[dataset].task == "cnle" else []
    names = ["extract", "filter", *grade, "deduplicate", "split", "rephrase"]
    files = [*(f"{name}.parquet" for name in [*names, "neighbours"]), "embeddings.npy"]
    return [f"results/datasets/{dataset}/stages/{name}" for name in files]


def dataset_settings(wildcards):
    """A dataset's settings as JSON."""
    return study.datasets[wildcards.dataset].model_dump_json()


def corpus_folder(wildcards):
    """The folder of a dataset's raw material."""
    chosen = study.datasets[wildcards.dataset]
    return chosen.path or f"results/corpora/{chosen.source}"


def corpus_of(wildcards):
    """The same as input; of a folder that no job makes the files, by whose content results are shared."""
    folder = corpus_folder(wildcards)
    if study.datasets[wildcards.dataset].path is None:
        return folder
    return (
        sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
        or folder
    )


def encoder_of(wildcards):
    """The manifest of a dataset's embedding model."""
    return f"results/encoders/{study.datasets[wildcards.dataset].encoder}/manifest.json"


def encoder_option(wildcards):
    """The option that names a dataset's embedding model."""
    return f"--encoder results/encoders/{study.datasets[wildcards.dataset].encoder}"


def embedding_options(wildcards):
    """The same, with how it embeds."""
    name = study.datasets[wildcards.dataset].encoder
    return f"{encoder_option(wildcards)} --pooling {study.encoders[name].pooling}"


def masked_model_of(wildcards):
    """The manifest of the model that proposes variables' names, where a dataset has one."""
    name = study.datasets[wildcards.dataset].masked_model
    return [] if name is None else f"results/encoders/{name}/manifest.json"


def masked_model_option(wildcards):
    """The option that names that model."""
    name = study.datasets[wildcards.dataset].masked_model
    return "" if name is None else f"--masked-model results/encoders/{name}"


def service_options(name):
    """The options that name a service and the cache of its answers; none for the offline ways."""
    if name not in study.services:
        return ""
    settings = study.services[name].model_dump_json()
    return f"--service {quote(settings)} --cache results/services/{name}.sqlite"


def graded_or_filtered(wildcards):
    """Only intents are graded for relevance: functions come with their own descriptions."""
    stage = "grade" if study.datasets[wildcards.dataset].task == "cnle" else "filter"
    return f"results/datasets/{wildcards.dataset}/stages/{stage}.parquet"


def job_settings(wildcards):
    """What baseline and edit jobs share."""
    return {
        "model": wildcards.model,
        "dataset": wildcards.dataset,
        "seed": study.seed,
        "protocol": study.protocol,
        "compute": study.compute.of_a_job(),
        "evaluation": study.evaluation,
    }


def baseline_settings(wildcards):
    """A baseline job's settings as JSON."""
    return BaselineSettings(**job_settings(wildcards)).model_dump_json()


def edit_settings(wildcards):
    """An edit job's settings as JSON."""
    task = study.datasets[wildcards.dataset].task
    about = {
        "editor": study.editor(wildcards.editor),
        "row": wildcards.editor if wildcards.editor in study.variants else None,
        "task": task,
        "fold": int(wildcards.fold),
        "hyperparameters": study.hyperparameters(
            wildcards.model, wildcards.editor, task
        ),
        "shard": (
            Shard(number=wildcards.shard, of=wildcards.shards)
            if "shard" in wildcards.keys()
            else None
        ),
    }
    return EditSettings(**job_settings(wildcards), **about).model_dump_json()


def shards_of(wildcards):
    """The files of an edit job's shards."""
    count = SHARDS[wildcards.job]
    return [
        f"results/shards/{wildcards.job}/fold{wildcards.fold}.{number}of{count}.parquet"
        for number in range(1, count + 1)
    ]


def shards_of_needed(wildcards):
    """The files of the shards of what editors need."""
    count = NEEDED_SHARDS[wildcards.job]
    return [
        f"results/shards/{wildcards.job}/fold{wildcards.fold}.{wildcards.digest}.{number}of{count}.safetensors"
        for number in range(1, count + 1)
    ]


def job_names(wildcards):
    """What an edit job, divided or not, is about."""
    return {name: wildcards[name] for name in ("model", "dataset", "editor", "fold")}


def edit_needs(wildcards):
    """The files that an editor needs on a fold, by kind."""
    return needs.paths(study, **job_names(wildcards))


def state_needs(wildcards):
    """The files that an editor is trained with, by kind: those that don't belong to a fold."""
    return needs.paths(study, **job_names(wildcards), scopes={"model", "dataset"})


def contexts_of(wildcards):
    """The contexts of a model, under which vectors are sought."""
    from clme.editors import contexts

    digest = contexts.need(study.seed).digest
    return needs.KINDS["contexts"].pattern.format(model=wildcards.model, digest=digest)


def states_of_editors(wildcards):
    """What editors have learned on each fold of each dataset."""
    return [
        files["state"]
        for model in study.models
        for dataset in study.datasets
        for editor in study.editor_names
        for fold in range(study.folds)
        if "state" in (files := needs.paths(study, model, dataset, editor, str(fold)))
    ]


def needs_options(files):
    """The options that hand needed files to a command."""
    return " ".join(f"--needs {kind}={path}" for kind, path in files.items())


def prepare_settings(kind):
    """The settings of the jobs that make needed files of a kind, as JSON."""
    return lambda wildcards: needs.settings(study, kind, **wildcards).model_dump_json()


def encoders_of(wildcards):
    """A-GRACE's encoders of all folds, and the representations that they are trained on."""
    found = [
        needs.paths(study, wildcards.model, wildcards.dataset, "a_grace", str(fold))
        for fold in range(study.folds)
    ]
    return {
        "representations": found[0]["representations"],
        "states": [files["state"] for files in found],
    }


def drawn_from(exhibit):
    """The results that a table or figure is drawn from."""
    return [f"results/{path}" for path in exhibits.files(study, exhibit)]


def corpus_of_texts(wildcards):
    """The packages that second moments are taken over; other corpora are no files of the workflow."""
    return "results/corpora/pypi" if study.moments.corpus == "packages" else []


def texts_of_moments(wildcards):
    """The texts that second moments are taken over, unless they are there already."""
    return (
        []
        if study.moments.corpus.startswith("npz:")
        else "results/texts/moments.parquet"
    )
