# From results to what a reader sees: one rule per table and figure, the paper, the report, the timings.

import shutil

METRICS = "results/metrics.parquet"
STUDY = "results/study.json"

# What each exhibit is drawn from; those of editors that the study leaves out aren't made.
TABLES = {"table_4": METRICS}
FIGURES = {"figure_3": EDITS, "figure_4": EDITS, "figure_tradeoff": METRICS}

if set(study.editor_names) & {"a_grace", "a_grace_wo_cl", "a_grace_wo_mean"}:
    TABLES["table_6"] = METRICS

TABLE_FILES = expand("results/tables/{name}.tex", name=TABLES)
FIGURE_FILES = expand("results/figures/{name}.pdf", name=FIGURES)

PUBLISHED = [
    *TABLE_FILES,
    *FIGURE_FILES,
    "results/numbers.json",
    "results/report.html",
    "results/timings.parquet",
]
# Without LaTeX all but the paper is made.
PAPER = ["results/paper.pdf"] if shutil.which("latexmk") else []


rule record:
    output:
        STUDY,
    log:
        "results/logs/record.log",
    benchmark:
        "results/benchmarks/record.tsv"
    conda:
        "../../envs/publish.yaml"
    params:
        config=study.model_copy(
            update={
                "editors": [
                    name for name in study.editor_names if name not in study.variants
                ]
            }
        ).model_dump_json(),
    shell:
        "clme record --config {params.config:q} --output {output} 2>&1 | tee {log}"


for name, needed in TABLES.items():

    rule:
        name:
            name
        input:
            study=STUDY,
            results=needed,
        output:
            tex=f"results/tables/{name}.tex",
            html=f"results/tables/{name}.html",
        log:
            f"results/logs/{name}.log",
        benchmark:
            f"results/benchmarks/{name}.tsv"
        conda:
            "../../envs/publish.yaml"
        params:
            name=name,
            folder=subpath(output[0], parent=True),
        shell:
            "clme table {params.name} --output {params.folder} 2>&1 | tee {log}"


for name, needed in FIGURES.items():

    rule:
        name:
            name
        input:
            study=STUDY,
            results=needed,
        output:
            multiext(f"results/figures/{name}", ".pdf", ".svg", ".png"),
        log:
            f"results/logs/{name}.log",
        benchmark:
            f"results/benchmarks/{name}.tsv"
        conda:
            "../../envs/publish.yaml"
        params:
            name=name,
            folder=subpath(output[0], parent=True),
        shell:
            "clme figure {params.name} --output {params.folder} 2>&1 | tee {log}"


rule numbers:
    input:
        study=STUDY,
        metrics=METRICS,
    output:
        "results/numbers.json",
    log:
        "results/logs/numbers.log",
    benchmark:
        "results/benchmarks/numbers.tsv"
    conda:
        "../../envs/publish.yaml"
    shell:
        "clme numbers --output {output} 2>&1 | tee {log}"


rule paper:
    input:
        sources=[SOURCE / "paper/paper.tex", SOURCE / "paper/references.bib"],
        numbers="results/numbers.json",
        exhibits=[*TABLE_FILES, *FIGURE_FILES],
    output:
        "results/paper.pdf",
    log:
        "results/logs/paper.log",
    benchmark:
        "results/benchmarks/paper.tsv"
    conda:
        "../../envs/publish.yaml"
    params:
        sources=SOURCE / "paper",
    shell:
        "clme paper {input.exhibits} --sources {params.sources} --numbers {input.numbers}"
        " --output {output} 2>&1 | tee {log}"


rule report:
    input:
        study=STUDY,
        metrics=METRICS,
        edits=EDITS,
        exhibits=[*TABLE_FILES, *FIGURE_FILES],
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../../envs/publish.yaml"
    params:
        tables=" ".join(f"--tables {name}" for name in TABLES),
        figures=" ".join(f"--figures {name}" for name in FIGURES),
    shell:
        "clme report {params.tables} {params.figures} --output {output} 2>&1 | tee {log}"


# Last: reads the benchmark files of all other rules.
rule timings:
    input:
        "results/report.html",
        "results/numbers.json",
        PAPER,
    output:
        "results/timings.parquet",
    log:
        "results/logs/timings.log",
    conda:
        "../../envs/publish.yaml"
    params:
        benchmarks="results/benchmarks",
    shell:
        "clme timings {params.benchmarks} --output {output} 2>&1 | tee {log}"
