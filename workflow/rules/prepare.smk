# What editors need before they edit, one rule per kind; files are named by a digest of their settings, so
# that editors with equal needs share them. `clme.study.needs` says how a kind is added.
# They have priority, so that at the end there are edits enough to fill all cores.
# `trap`: where a batch system sends SIGTERM to all processes of a job, `clme` stops after a batch (see
# clme.stopping), and what writes its log lives on till then.


rule contexts:
    input:
        "results/models/{model}/manifest.json",
    output:
        needs.KINDS["contexts"].pattern,
    log:
        "results/logs/contexts/{model}.{digest}.log",
    benchmark:
        "results/benchmarks/contexts/{model}.{digest}.tsv"
    priority: 1
    conda:
        "../../envs/model.yaml"
    resources:
        mem_mb=memory,
        runtime=minutes("evaluate"),
        gpu=RESOURCES.accelerators,
    params:
        code=code("prepare:prepare", needs.KINDS["contexts"].module),
        settings=prepare_settings("contexts"),
        folder=subpath(input[0], parent=True),
        journals="results/journals/contexts/{model}",
    shell:
        "trap '' TERM; clme prepare contexts {params.folder} --settings {params.settings:q}"
        " --journals {params.journals} --output {output} 2>&1 | tee {log}"


rule texts:
    input:
        corpus_of_texts,
    output:
        "results/texts/moments.parquet",
    log:
        "results/logs/texts/moments.log",
    benchmark:
        "results/benchmarks/texts/moments.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("moments:texts"),
        corpus=study.moments.corpus,
        files=local_files(study.moments.corpus),
        samples=study.moments.samples,
        seed=study.seed,
        folder=lambda wildcards, input: input[0] if input else "results/corpora/texts",
        lock=LOCK,
    shell:
        "clme texts --corpus {params.corpus:q} --folder {params.folder} --lock {params.lock}"
        " --samples {params.samples} --seed {params.seed} --output {output} 2>&1 | tee {log}"


rule moments:
    input:
        model="results/models/{model}/manifest.json",
        texts=texts_of_moments,
    output:
        needs.KINDS["moments"].pattern,
    log:
        "results/logs/moments/{model}.{digest}.log",
    benchmark:
        "results/benchmarks/moments/{model}.{digest}.tsv"
    priority: 1
    conda:
        "../../envs/model.yaml"
    threads: workflow.cores
    resources:
        mem_mb=memory,
        runtime=minutes("moments"),
        gpu=RESOURCES.accelerators,
    params:
        code=code("prepare:prepare", needs.KINDS["moments"].module),
        settings=prepare_settings("moments"),
        files=lambda wildcards: local_files(
            study.moments.corpus.replace("{model}", wildcards.model)
        ),
        texts=lambda wildcards, input: (
            f"--needs texts={input.texts}" if input.texts else ""
        ),
        folder=subpath(input.model, parent=True),
        journals="results/journals/moments/{model}",
    shell:
        "trap '' TERM; clme prepare moments {params.folder} {params.texts} --settings {params.settings:q}"
        " --journals {params.journals} --output {output} 2>&1 | tee {log}"


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
    priority: 1
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    resources:
        mem_mb=memory,
        runtime=minutes("evaluate"),
        gpu=RESOURCES.accelerators,
    params:
        code=code("prepare:prepare", needs.KINDS["representations"].module),
        settings=prepare_settings("representations"),
        folder=subpath(input.model, parent=True),
        journals="results/journals/representations/{model}/{dataset}",
    shell:
        "trap '' TERM; clme prepare representations {params.folder} --cases {input.cases} --settings {params.settings:q}"
        " --journals {params.journals} --output {output} 2>&1 | tee {log}"


rule vectors:
    input:
        model="results/models/{model}/manifest.json",
        cases="results/datasets/{dataset}/cases.parquet",
        contexts=contexts_of,
    output:
        needs.KINDS["vectors"].pattern,
    log:
        "results/logs/vectors/{model}.{dataset}.fold{fold}.{digest}.log",
    benchmark:
        "results/benchmarks/vectors/{model}.{dataset}.fold{fold}.{digest}.tsv"
    priority: 1
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    resources:
        mem_mb=memory,
        runtime=minutes("vectors"),
        gpu=RESOURCES.accelerators,
    params:
        code=code("prepare:prepare", needs.KINDS["vectors"].module),
        settings=prepare_settings("vectors"),
        folder=subpath(input.model, parent=True),
        journals="results/journals/vectors/{model}/{dataset}/fold{fold}",
    shell:
        "trap '' TERM; clme prepare vectors {params.folder} --cases {input.cases} --needs contexts={input.contexts}"
        " --settings {params.settings:q} --journals {params.journals} --output {output} 2>&1 | tee {log}"


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
    priority: 1
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    resources:
        mem_mb=memory,
        runtime=minutes("value"),
        gpu=RESOURCES.accelerators,
    params:
        code=code("prepare:prepare", needs.KINDS["values"].module),
        settings=prepare_settings("values"),
        folder=subpath(input.model, parent=True),
        journals="results/journals/values/{model}/{dataset}/fold{fold}",
    shell:
        "trap '' TERM; clme prepare values {params.folder} --cases {input.cases} --settings {params.settings:q}"
        " --journals {params.journals} --output {output} 2>&1 | tee {log}"


rule fired:
    input:
        model="results/models/{model}/manifest.json",
        cases="results/datasets/{dataset}/cases.parquet",
        values=needs.KINDS["values"].pattern,
    output:
        needs.KINDS["fired"].pattern,
    log:
        "results/logs/fired/{model}.{dataset}.fold{fold}.{digest}.log",
    benchmark:
        "results/benchmarks/fired/{model}.{dataset}.fold{fold}.{digest}.tsv"
    priority: 1
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    resources:
        mem_mb=memory,
        runtime=minutes("value"),
        gpu=RESOURCES.accelerators,
    params:
        code=code("prepare:prepare", needs.KINDS["fired"].module),
        settings=prepare_settings("fired"),
        folder=subpath(input.model, parent=True),
        journals="results/journals/fired/{model}/{dataset}/fold{fold}",
    shell:
        "trap '' TERM; clme prepare fired {params.folder} --cases {input.cases} --needs values={input.values}"
        " --settings {params.settings:q} --journals {params.journals} --output {output}"
        " 2>&1 | tee {log}"


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
    priority: 1
    conda:
        "../../envs/model.yaml"
    threads: study.compute.threads or workflow.cores
    resources:
        mem_mb=memory,
        runtime=minutes("train"),
        gpu=RESOURCES.accelerators,
    params:
        code=editor_code("prepare:prepare", needs.KINDS["state"].module),
        settings=prepare_settings("state"),
        needs=lambda wildcards: needs_options(state_needs(wildcards)),
        folder=subpath(input.model, parent=True),
        journals="results/journals/states/{model}/{dataset}/{editor}/fold{fold}",
    shell:
        "trap '' TERM; clme prepare state {params.folder} --cases {input.cases} {params.needs}"
        " --settings {params.settings:q} --journals {params.journals} --output {output}"
        " 2>&1 | tee {log}"


# Jobs that are divided, by `compute.shards`: the parts of their files are put together and are as whole ones.
if NEEDED_SHARDS:

    use rule vectors as vectors_shard with:
        output:
            temp(needs.KINDS["vectors"].shard_pattern),
        log:
            "results/logs/vectors_shard/{model}.{dataset}.fold{fold}.{digest}.{shard}of{shards}.log",
        benchmark:
            "results/benchmarks/vectors_shard/{model}.{dataset}.fold{fold}.{digest}.{shard}of{shards}.tsv"

    use rule values as values_shard with:
        output:
            temp(needs.KINDS["values"].shard_pattern),
        log:
            "results/logs/values_shard/{model}.{dataset}.fold{fold}.{digest}.{shard}of{shards}.log",
        benchmark:
            "results/benchmarks/values_shard/{model}.{dataset}.fold{fold}.{digest}.{shard}of{shards}.tsv"

    use rule fired as fired_shard with:
        output:
            temp(needs.KINDS["fired"].shard_pattern),
        log:
            "results/logs/fired_shard/{model}.{dataset}.fold{fold}.{digest}.{shard}of{shards}.log",
        benchmark:
            "results/benchmarks/fired_shard/{model}.{dataset}.fold{fold}.{digest}.{shard}of{shards}.tsv"

    ruleorder: merge_prepared > vectors
    ruleorder: merge_prepared > values
    ruleorder: merge_prepared > fired

    rule merge_prepared:
        input:
            shards_of_needed,
        output:
            "results/{job}/fold{fold}.{digest}.safetensors",
        log:
            "results/logs/merge_prepared/{job}.fold{fold}.{digest}.log",
        benchmark:
            "results/benchmarks/merge_prepared/{job}.fold{fold}.{digest}.tsv"
        wildcard_constraints:
            job=any_of(NEEDED_SHARDS),
        priority: 1
        conda:
            "../../envs/model.yaml"
        params:
            code=code("prepare:merge_prepared"),
        shell:
            "clme merge-prepared {input} --output {output} 2>&1 | tee {log}"
