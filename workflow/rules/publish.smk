# From results to what a reader sees: one rule per table and figure, the paper, the report, the timings.
# They take seconds each: where jobs are submitted, all of them are one.

import shutil

STUDY = "results/study.json"
# The paper's numbers, which every command of this stage may read.
REFERENCES = expand(
    SOURCE / "paper/published/table{number}.csv", number=[2, 3, 4, 5, 6]
)
PRINTED = f"--published {SOURCE / 'paper/published'}"

TABLES, FIGURES = exhibits.tables(study), exhibits.figures(study)
TABLE_FILES = expand("results/tables/{name}.tex", name=TABLES)
FIGURE_FILES = expand("results/figures/{name}.pdf", name=FIGURES)
# The paper prints all but the table with all intervals, which is longer than a page.
PRINTED_FILES = [
    path
    for path in [*TABLE_FILES, *FIGURE_FILES]
    if not path.endswith("table_4_intervals.tex")
]

PUBLISHED = [
    *TABLE_FILES,
    *FIGURE_FILES,
    "results/numbers.json",
    "results/published.parquet",
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
    group:
        "publish"
    conda:
        "../../envs/publish.yaml"
    params:
        code=code("publish:record"),
        config=study.model_copy(
            update={
                "editors": [
                    name for name in study.editor_names if name not in study.variants
                ]
            }
        ).model_dump_json(),
    shell:
        "clme record --config {params.config:q} --output {output} 2>&1 | tee {log}"


for name, exhibit in TABLES.items():

    rule:
        name:
            name
        input:
            drawn_from(exhibit),
            REFERENCES,
        output:
            tex=f"results/tables/{name}.tex",
            html=report(
                f"results/tables/{name}.html",
                caption="../report/exhibit.rst",
                category="Tables",
                labels={"table": exhibit.caption},
            ),
        log:
            f"results/logs/{name}.log",
        benchmark:
            f"results/benchmarks/{name}.tsv"
        group:
            "publish"
        conda:
            "../../envs/publish.yaml"
        params:
            code=code("publish:table", exhibits.module(exhibit)),
            name=name,
            caption=exhibit.caption,
            folder=subpath(output[0], parent=True),
            printed=PRINTED,
        shell:
            "clme table {params.name} {params.printed} --output {params.folder} 2>&1 | tee {log}"


for name, exhibit in FIGURES.items():

    rule:
        name:
            name
        input:
            drawn_from(exhibit),
            REFERENCES,
        output:
            pdf=f"results/figures/{name}.pdf",
            svg=report(
                f"results/figures/{name}.svg",
                caption="../report/exhibit.rst",
                category="Figures",
                labels={"figure": name.removeprefix("figure_")},
            ),
            png=f"results/figures/{name}.png",
        log:
            f"results/logs/{name}.log",
        benchmark:
            f"results/benchmarks/{name}.tsv"
        group:
            "publish"
        conda:
            "../../envs/publish.yaml"
        params:
            code=code("publish:figure", exhibits.module(exhibit)),
            name=name,
            caption=exhibit.caption,
            folder=subpath(output[0], parent=True),
            printed=PRINTED,
        shell:
            "clme figure {params.name} {params.printed} --output {params.folder} 2>&1 | tee {log}"


rule published:
    input:
        STUDY,
        EDITS,
        REFERENCES,
        metrics="results/metrics.parquet",
    output:
        "results/published.parquet",
    log:
        "results/logs/published.log",
    benchmark:
        "results/benchmarks/published.tsv"
    group:
        "publish"
    conda:
        "../../envs/publish.yaml"
    params:
        code=code("publish:published"),
        printed=PRINTED,
    shell:
        "clme published {params.printed} --output {output} 2>&1 | tee {log}"


rule numbers:
    input:
        STUDY,
        EDITS,
        REFERENCES,
        metrics="results/metrics.parquet",
        comparisons="results/comparisons.parquet",
    output:
        "results/numbers.json",
    log:
        "results/logs/numbers.log",
    benchmark:
        "results/benchmarks/numbers.tsv"
    group:
        "publish"
    conda:
        "../../envs/publish.yaml"
    params:
        code=code("publish:numbers"),
        printed=PRINTED,
    shell:
        "clme numbers {params.printed} --output {output} 2>&1 | tee {log}"


rule paper:
    input:
        sources=[SOURCE / "paper/paper.tex", SOURCE / "paper/references.bib"],
        numbers="results/numbers.json",
        exhibits=PRINTED_FILES,
    output:
        report(
            "results/paper.pdf",
            caption="../report/paper.rst",
            category="Paper and cases",
            labels={"what": "paper"},
        ),
    log:
        "results/logs/paper.log",
    benchmark:
        "results/benchmarks/paper.tsv"
    group:
        "publish"
    conda:
        "../../envs/publish.yaml"
    params:
        code=code("publish:paper"),
        sources=SOURCE / "paper",
    shell:
        "clme paper {input.exhibits} --sources {params.sources} --numbers {input.numbers}"
        " --output {output} 2>&1 | tee {log}"


rule report:
    input:
        STUDY,
        EDITS,
        REFERENCES,
        TABLE_FILES,
        FIGURE_FILES,
        "results/numbers.json",
        expand("results/datasets/{dataset}/cases.parquet", dataset=study.datasets),
    output:
        report(
            "results/report.html",
            caption="../report/cases.rst",
            category="Paper and cases",
            labels={"what": "all cases to browse"},
        ),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    group:
        "publish"
    conda:
        "../../envs/publish.yaml"
    params:
        code=code(
            "publish:report",
            *map(exhibits.module, [*TABLES.values(), *FIGURES.values()]),
        ),
        printed=PRINTED,
    shell:
        "clme report {params.printed} --output {output} 2>&1 | tee {log}"


rule archive:
    input:
        STUDY,
        EDITS,
        REFERENCES,
        expand("results/datasets/{dataset}/cases.parquet", dataset=study.datasets),
        [path for exhibit in TABLES.values() for path in drawn_from(exhibit)],
        [path for exhibit in FIGURES.values() for path in drawn_from(exhibit)],
        "results/published.parquet",
        "results/numbers.json",
    output:
        "results/archive.zip",
    log:
        "results/logs/archive.log",
    benchmark:
        "results/benchmarks/archive.tsv"
    group:
        "publish"
    conda:
        "../../envs/publish.yaml"
    params:
        code=code("publish:archive"),
        printed=PRINTED,
    shell:
        "clme archive {params.printed} --output {output} 2>&1 | tee {log}"


# Last: reads the benchmark files of all other rules.
rule timings:
    input:
        "results/report.html",
        "results/numbers.json",
        "results/published.parquet",
        PAPER,
    output:
        "results/timings.parquet",
    log:
        "results/logs/timings.log",
    group:
        "publish"
    conda:
        "../../envs/publish.yaml"
    params:
        code=code("publish:timings"),
        benchmarks="results/benchmarks",
    shell:
        "clme timings {params.benchmarks} --output {output} 2>&1 | tee {log}"
