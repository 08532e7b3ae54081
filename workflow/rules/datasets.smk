# Datasets: the stages of the paper's Section III-C; each one's result is a file.


# Where compute nodes have no way out, the machine that runs Snakemake has one.
localrules:
    corpus,


STAGES = "results/datasets/{dataset}/stages"


# The stages are named, too, so that one whose file was deleted is run again, with what follows.
rule datasets:
    input:
        expand("results/datasets/{dataset}/cases.parquet", dataset=study.datasets),
        [stages_of(dataset) for dataset in built],


rule corpus:
    output:
        directory("results/corpora/{source}"),
    log:
        "results/logs/corpus/{source}.log",
    benchmark:
        "results/benchmarks/corpus/{source}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:download"),
        lock=LOCK,
        zenodo=study.mirrors.zenodo,
    shell:
        "clme dataset download --source {wildcards.source} --lock {params.lock} --zenodo {params.zenodo:q}"
        " --output {output} 2>&1 | tee {log}"


rule extract:
    input:
        corpus_of,
    output:
        f"{STAGES}/extract.parquet",
    log:
        "results/logs/extract/{dataset}.log",
    benchmark:
        "results/benchmarks/extract/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:extract"),
        corpus=corpus_folder,
        settings=dataset_settings,
        seed=study.seed,
    shell:
        "clme dataset extract {params.corpus} --name {wildcards.dataset} --settings {params.settings:q}"
        " --seed {params.seed} --output {output} 2>&1 | tee {log}"


rule filter_pairs:
    input:
        pairs=f"{STAGES}/extract.parquet",
        encoder=encoder_of,
    output:
        f"{STAGES}/filter.parquet",
    log:
        "results/logs/filter/{dataset}.log",
    benchmark:
        "results/benchmarks/filter/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:filter_pairs"),
        settings=dataset_settings,
        encoder=encoder_option,
    shell:
        "clme dataset filter {input.pairs} --settings {params.settings:q} {params.encoder}"
        " --output {output} 2>&1 | tee {log}"


rule grade:
    input:
        pairs=f"{STAGES}/filter.parquet",
        encoder=encoder_of,
    output:
        f"{STAGES}/grade.parquet",
    log:
        "results/logs/grade/{dataset}.log",
    benchmark:
        "results/benchmarks/grade/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    threads: workflow.cores
    params:
        code=code("datasets:grade"),
        encoder=embedding_options,
        service=lambda wildcards: service_options(
            study.datasets[wildcards.dataset].grader
        ),
    shell:
        "clme dataset grade {input.pairs} {params.service} {params.encoder} --output {output} 2>&1 | tee {log}"


rule deduplicate:
    input:
        graded_or_filtered,
    output:
        f"{STAGES}/deduplicate.parquet",
    log:
        "results/logs/deduplicate/{dataset}.log",
    benchmark:
        "results/benchmarks/deduplicate/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:deduplicate"),
    shell:
        "clme dataset deduplicate {input} --output {output} 2>&1 | tee {log}"


rule split:
    input:
        f"{STAGES}/deduplicate.parquet",
    output:
        f"{STAGES}/split.parquet",
    log:
        "results/logs/split/{dataset}.log",
    benchmark:
        "results/benchmarks/split/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:split"),
        settings=dataset_settings,
        seed=study.seed,
    shell:
        "clme dataset split {input} --name {wildcards.dataset} --settings {params.settings:q}"
        " --seed {params.seed} --output {output} 2>&1 | tee {log}"


rule embed:
    input:
        pairs=f"{STAGES}/split.parquet",
        encoder=encoder_of,
    output:
        f"{STAGES}/embeddings.npy",
    log:
        "results/logs/embed/{dataset}.log",
    benchmark:
        "results/benchmarks/embed/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    threads: workflow.cores
    params:
        code=code("datasets:embed"),
        encoder=embedding_options,
    shell:
        "clme dataset embed {input.pairs} {params.encoder} --output {output} 2>&1 | tee {log}"


rule rephrase:
    input:
        pairs=f"{STAGES}/split.parquet",
        encoder=encoder_of,
        masked_model=masked_model_of,
    output:
        f"{STAGES}/rephrase.parquet",
    log:
        "results/logs/rephrase/{dataset}.log",
    benchmark:
        "results/benchmarks/rephrase/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:rephrase"),
        settings=dataset_settings,
        seed=study.seed,
        folds=study.folds,
        encoder=embedding_options,
        masked_model=masked_model_option,
        service=lambda wildcards: service_options(
            study.datasets[wildcards.dataset].rewriter
        ),
    shell:
        "clme dataset rephrase {input.pairs} --name {wildcards.dataset} --settings {params.settings:q}"
        " --seed {params.seed} --folds {params.folds} {params.encoder} {params.masked_model}"
        " {params.service} --output {output} 2>&1 | tee {log}"


rule neighbours:
    input:
        pairs=f"{STAGES}/split.parquet",
        rephrases=f"{STAGES}/rephrase.parquet",
        embeddings=f"{STAGES}/embeddings.npy",
    output:
        f"{STAGES}/neighbours.parquet",
    log:
        "results/logs/neighbours/{dataset}.log",
    benchmark:
        "results/benchmarks/neighbours/{dataset}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:neighbours"),
        settings=dataset_settings,
    shell:
        "clme dataset neighbours {input.pairs} {input.rephrases} {input.embeddings}"
        " --settings {params.settings:q} --output {output} 2>&1 | tee {log}"


rule cases:
    input:
        pairs=f"{STAGES}/split.parquet",
        rephrases=f"{STAGES}/rephrase.parquet",
        neighbours=f"{STAGES}/neighbours.parquet",
        encoder=encoder_of,
        published=SOURCE / "paper/published/table3.csv",
    output:
        cases="results/datasets/{dataset}/cases.parquet",
        card="results/datasets/{dataset}/README.md",
        counts="results/datasets/{dataset}/stages.json",
        statistics="results/datasets/{dataset}/statistics.json",
    log:
        "results/logs/cases/{dataset}.log",
    benchmark:
        "results/benchmarks/cases/{dataset}.tsv"
    wildcard_constraints:
        dataset=any_of(built),
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:make_cases"),
        settings=dataset_settings,
        seed=study.seed,
        folds=study.folds,
        encoder=encoder_option,
        stages=subpath(input.pairs, parent=True),
    shell:
        "clme dataset cases {params.stages} --name {wildcards.dataset} --settings {params.settings:q}"
        " --seed {params.seed} --folds {params.folds} {params.encoder}"
        " --published {input.published} --output {output.cases} 2>&1 | tee {log}"


# The authors' archive holds finished cases: nothing is built.
rule released:
    input:
        archive=corpus_of,
        encoder=encoder_of,
        published=SOURCE / "paper/published/table3.csv",
    output:
        cases="results/datasets/{dataset}/cases.parquet",
        unedited="results/datasets/{dataset}/unedited.parquet",
        card="results/datasets/{dataset}/README.md",
        counts="results/datasets/{dataset}/stages.json",
        statistics="results/datasets/{dataset}/statistics.json",
    log:
        "results/logs/released/{dataset}.log",
    benchmark:
        "results/benchmarks/released/{dataset}.tsv"
    wildcard_constraints:
        dataset=any_of(released),
    conda:
        "../../envs/data.yaml"
    params:
        code=code("datasets:released"),
        corpus=corpus_folder,
        settings=dataset_settings,
        seed=study.seed,
        folds=study.folds,
        encoder=encoder_option,
    shell:
        "clme dataset released {params.corpus} --name {wildcards.dataset} --settings {params.settings:q}"
        " --seed {params.seed} --folds {params.folds} {params.encoder}"
        " --published {input.published} --output {output.cases} 2>&1 | tee {log}"
