# The whole study, from pinned sources to the paper. `snakemake -n` shows what would run.

import signal
from pathlib import Path

from snakemake.utils import min_version

from clme.errors import UserError
from clme.study import config as study_config

min_version("9.27")

# A configuration that names its study is whole; it replaces the default one and isn't merged with it.
if "study" not in config:

    configfile: Path(workflow.basedir) / "config.yaml"


try:
    study = study_config.load(config)
except UserError as error:
    raise WorkflowError(f"{error}") from None

SOURCE = Path(workflow.basedir)

# Batch systems send it to all processes of a job; only what can stop is to heed it (see clme.stopping).
signal.signal(signal.SIGUSR1, signal.SIG_IGN)


report: "workflow/report/workflow.rst"


wildcard_constraints:
    model="|".join(map(re.escape, study.models)),
    dataset="|".join(map(re.escape, study.datasets)),
    editor="|".join(map(re.escape, study.editor_names)),
    encoder="|".join(map(re.escape, study.encoders)),
    fold=r"\d+",
    shard=r"\d+",
    shards=r"\d+",
    digest="[0-9a-f]{8}",


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/cache.smk"


rule all:
    default_target: True
    input:
        PUBLISHED,
        PAPER,
    params:
        forecast=lambda wildcards: RESOURCES.summary(),
    message:
        "The whole study, by the cost model: {params.forecast}."
