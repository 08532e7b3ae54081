# The study: unedited outputs once, then one job per (model, editor, dataset, fold), then the numbers.
# `trap`: as in prepare.smk.


EDITS = expand(
    "results/edits/{model}/{dataset}/{editor}/fold{fold}.parquet",
    model=study.models,
    dataset=study.datasets,
    editor=study.editor_names,
    fold=range(study.folds),
)


rule baseline:
    input:
        model="results/models/{model}/manifest.json",
        cases="results/datasets/{dataset}/cases.parquet",
    output:
        "results/baselines/{model}/{dataset}.parquet",
    log:
        "results/logs/baseline/{model}.{dataset}.log",
    benchmark:
        "results/benchmarks/baseline/{model}.{dataset}.tsv"
    priority: 1
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    resources:
        mem_mb=memory,
        runtime=minutes("evaluate"),
        gpu=RESOURCES.accelerators,
    params:
        code=code("study:baseline"),
        settings=baseline_settings,
        folder=subpath(input.model, parent=True),
        journals="results/journals/baselines/{model}/{dataset}",
    shell:
        "trap '' TERM; clme baseline {params.folder} {input.cases} --settings {params.settings:q}"
        " --journals {params.journals} --output {output} 2>&1 | tee {log}"


rule edit:
    input:
        model="results/models/{model}/manifest.json",
        cases="results/datasets/{dataset}/cases.parquet",
        baseline="results/baselines/{model}/{dataset}.parquet",
        needs=lambda wildcards: list(edit_needs(wildcards).values()),
    output:
        "results/edits/{model}/{dataset}/{editor}/fold{fold}.parquet",
    log:
        "results/logs/edit/{model}.{dataset}.{editor}.fold{fold}.log",
    benchmark:
        "results/benchmarks/edit/{model}.{dataset}.{editor}.fold{fold}.tsv"
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    resources:
        mem_mb=memory,
        runtime=minutes("edit"),
        gpu=RESOURCES.accelerators,
    params:
        code=editor_code("study:edit"),
        settings=edit_settings,
        needs=lambda wildcards: needs_options(edit_needs(wildcards)),
        folder=subpath(input.model, parent=True),
        journals="results/journals/edits/{model}/{dataset}/{editor}/fold{fold}",
    shell:
        "trap '' TERM; clme edit {params.folder} {input.cases} {input.baseline} {params.needs}"
        " --settings {params.settings:q} --journals {params.journals} --output {output}"
        " 2>&1 | tee {log}"


# Jobs that are divided, by `compute.shards`: their results are put together and are as those of whole ones.
if SHARDS:

    use rule edit as edit_shard with:
        output:
            temp(
                "results/shards/{model}/{dataset}/{editor}/fold{fold}.{shard}of{shards}.parquet"
            ),
        log:
            "results/logs/edit_shard/{model}.{dataset}.{editor}.fold{fold}.{shard}of{shards}.log",
        benchmark:
            "results/benchmarks/edit_shard/{model}.{dataset}.{editor}.fold{fold}.{shard}of{shards}.tsv"

    ruleorder: merge > edit

    rule merge:
        input:
            shards=shards_of,
            cases=lambda wildcards: f"results/datasets/{wildcards.job.split('/')[1]}/cases.parquet",
        output:
            "results/edits/{job}/fold{fold}.parquet",
        log:
            "results/logs/merge/{job}.fold{fold}.log",
        benchmark:
            "results/benchmarks/merge/{job}.fold{fold}.tsv"
        wildcard_constraints:
            job=any_of(SHARDS),
        conda:
            "../../envs/data.yaml"
        params:
            code=code("study:merge"),
        shell:
            "clme merge {input.shards} --cases {input.cases} --output {output} 2>&1 | tee {log}"


rule tuning:
    input:
        EDITS,
    output:
        "results/tuning.md",
    log:
        "results/logs/tuning.log",
    benchmark:
        "results/benchmarks/tuning.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("study:tuning"),
    shell:
        "clme tuning {input} --output {output} 2>&1 | tee {log}"


rule answers:
    input:
        # What unedited models say is in every editor's results.
        edits=expand(
            "results/edits/{model}/{{dataset}}/{editor}/fold{fold}.parquet",
            model=study.models,
            editor=study.editor_names[:1],
            fold=range(study.folds),
        ),
        encoder=encoder_of,
    output:
        "results/datasets/{dataset}/answers.json",
    log:
        "results/logs/answers/{dataset}.log",
    benchmark:
        "results/benchmarks/answers/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:answers"),
        encoder=encoder_option,
    shell:
        "clme dataset answers {input.edits} {params.encoder} --output {output} 2>&1 | tee {log}"


rule comparisons:
    input:
        EDITS,
    output:
        "results/comparisons.parquet",
    log:
        "results/logs/comparisons.log",
    benchmark:
        "results/benchmarks/comparisons.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("study:compare"),
        seed=study.seed,
    shell:
        "clme compare {input} --seed {params.seed} --output {output} 2>&1 | tee {log}"


rule distances:
    input:
        representations=lambda wildcards: encoders_of(wildcards)["representations"],
        states=lambda wildcards: encoders_of(wildcards)["states"],
        cases="results/datasets/{dataset}/cases.parquet",
    output:
        "results/distances/{model}/{dataset}.parquet",
    log:
        "results/logs/distances/{model}.{dataset}.log",
    benchmark:
        "results/benchmarks/distances/{model}.{dataset}.tsv"
    conda:
        "../../envs/model.yaml"
    params:
        code=code("study:distances"),
    shell:
        "clme distances {input.representations} {input.states} --cases {input.cases}"
        " --output {output} 2>&1 | tee {log}"


rule training:
    input:
        states_of_editors,
    output:
        "results/training.parquet",
    log:
        "results/logs/training.log",
    benchmark:
        "results/benchmarks/training.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("study:training"),
    shell:
        "clme training {input} --output {output} 2>&1 | tee {log}"


rule strata:
    input:
        edits=EDITS,
        cases=expand("results/datasets/{dataset}/cases.parquet", dataset=study.datasets),
    output:
        "results/strata.parquet",
    log:
        "results/logs/strata.log",
    benchmark:
        "results/benchmarks/strata.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("study:strata"),
        cases=" ".join(
            f"--cases {name}=results/datasets/{name}/cases.parquet"
            for name in study.datasets
        ),
        seed=study.seed,
    shell:
        "clme strata {input.edits} {params.cases} --seed {params.seed} --output {output}"
        " 2>&1 | tee {log}"


rule metrics:
    input:
        EDITS,
    output:
        "results/metrics.parquet",
    log:
        "results/logs/metrics.log",
    benchmark:
        "results/benchmarks/metrics.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("study:aggregate"),
        seed=study.seed,
    shell:
        "clme aggregate {input} --seed {params.seed} --output {output} 2>&1 | tee {log}"
