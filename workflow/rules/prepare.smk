# What editors need before they edit, one rule per kind; files are named by a digest of their settings, so
# that editors with equal needs share them. `clme.study.needs` says how a kind is added.


rule representations:
    input:
        model="results/models/{model}/manifest.json",
        cases="results/datasets/{dataset}/cases.parquet",
    output:
        needs.KINDS["representations"].pattern,
    log:
        "results/logs/representations/{model}.{dataset}.{digest}.log",
    benchmark:
        "results/benchmarks/representations/{model}.{dataset}.{digest}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    params:
        settings=prepare_settings("representations"),
        folder=subpath(input.model, parent=True),
        journals="results/journals/representations/{model}/{dataset}",
    shell:
        "clme prepare representations {params.folder} --cases {input.cases} --settings {params.settings:q}"
        " --journals {params.journals} --output {output} 2>&1 | tee {log}"


rule values:
    input:
        model="results/models/{model}/manifest.json",
        cases="results/datasets/{dataset}/cases.parquet",
    output:
        needs.KINDS["values"].pattern,
    log:
        "results/logs/values/{model}.{dataset}.fold{fold}.{digest}.log",
    benchmark:
        "results/benchmarks/values/{model}.{dataset}.fold{fold}.{digest}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    params:
        settings=prepare_settings("values"),
        folder=subpath(input.model, parent=True),
        journals="results/journals/values/{model}/{dataset}/fold{fold}",
    shell:
        "clme prepare values {params.folder} --cases {input.cases} --settings {params.settings:q}"
        " --journals {params.journals} --output {output} 2>&1 | tee {log}"


rule state:
    input:
        model="results/models/{model}/manifest.json",
        cases="results/datasets/{dataset}/cases.parquet",
        needs=lambda wildcards: list(state_needs(wildcards).values()),
    output:
        needs.KINDS["state"].pattern,
    log:
        "results/logs/state/{model}.{dataset}.{editor}.fold{fold}.{digest}.log",
    benchmark:
        "results/benchmarks/state/{model}.{dataset}.{editor}.fold{fold}.{digest}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    params:
        settings=prepare_settings("state"),
        needs=lambda wildcards: needs_options(state_needs(wildcards)),
        folder=subpath(input.model, parent=True),
        journals="results/journals/states/{model}/{dataset}/{editor}/fold{fold}",
    shell:
        "clme prepare state {params.folder} --cases {input.cases} {params.needs}"
        " --settings {params.settings:q} --journals {params.journals} --output {output}"
        " 2>&1 | tee {log}"
