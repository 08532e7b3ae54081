# What rules need to know of the study's configuration.

from clme.study.settings import BaselineSettings, EditSettings


def origin_options(origin):
    """The options of `clme model fetch` for a model's or an encoder's origin."""
    checksum = f" --sha256 {origin.sha256}" if origin.sha256 else ""
    return f"--source '{origin.source}'{checksum}"


def dataset_settings(wildcards):
    """A dataset's settings as JSON."""
    return study.datasets[wildcards.dataset].model_dump_json()


def corpus_of(wildcards):
    """The raw material of a dataset's source."""
    return f"results/corpora/{study.datasets[wildcards.dataset].source}"


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
        "compute": study.compute,
        "evaluation": study.evaluation,
    }


def baseline_settings(wildcards):
    """A baseline job's settings as JSON."""
    return BaselineSettings(**job_settings(wildcards)).model_dump_json()


def edit_settings(wildcards):
    """An edit job's settings as JSON."""
    chosen = study.models[wildcards.model].editors.get(wildcards.editor, {})
    about = {
        "editor": wildcards.editor,
        "fold": int(wildcards.fold),
        "hyperparameters": chosen,
    }
    return EditSettings(**job_settings(wildcards), **about).model_dump_json()
