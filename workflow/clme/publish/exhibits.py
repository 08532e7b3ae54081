"""All tables and figures by name: what each shows, what draws it, what it is drawn from."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from clme.errors import UserError
from clme.publish.tables import Table
from clme.study.config import StudyConfig

Need = Literal[
    "study",
    "metrics",
    "edits",
    "comparisons",
    "strata",
    "stages",
    "statistics",
    "answers",
    "distances",
    "training",
    "cases",
]


@dataclass(frozen=True)
class Exhibit:
    """A table or a figure.

    Attributes:
        caption: what it shows; of tables, the table's own caption is printed.
        made_by: the function that makes it of `Results`, as ``module:function``.
        needs: the results that it is drawn from, beside the study's configuration.
        editors: it is made for studies with one of these; empty for all studies.
    """

    caption: str
    made_by: str
    needs: tuple[Need, ...] = ()
    editors: frozenset[str] = frozenset()

    def make(self, results: Any) -> Any:
        """Return the table or the figure; tables of edits' numbers have the notes of the results."""
        _, function = self.made_by.split(":")
        made = getattr(importlib.import_module(module(self)), function)(results)
        if isinstance(made, Table) and _OF_EDITS.intersection(self.needs):
            made = replace(made, notes=(*made.notes, *results.notes))
        return made


def module(exhibit: Exhibit) -> str:
    """Return the name of the module that makes an exhibit."""
    return f"clme.publish.{exhibit.made_by.split(':')[0]}"


_OF_EDITS: frozenset[Need] = frozenset({"metrics", "edits", "comparisons", "strata"})
_ENCODED = frozenset({"a_grace"})
_TRAINED = frozenset({"malmen", "a_grace", "a_grace_wo_mean"})
_AUGMENTED = frozenset({"a_grace", "a_grace_wo_cl", "a_grace_wo_mean"})

TABLES: Mapping[str, Exhibit] = {
    "table_1": Exhibit("Selected techniques.", "design:table_1"),
    "table_2": Exhibit("Statistics of the relevance grades.", "design:table_2", ("statistics",)),
    "table_3": Exhibit("Dataset statistics.", "design:table_3", ("statistics", "answers")),
    "table_4": Exhibit("Proficiency of the techniques.", "proficiency:table_4", ("metrics",)),
    "table_4_intervals": Exhibit("Table IV with intervals.", "proficiency:table_4_intervals", ("metrics",)),
    "table_5": Exhibit("Decrease of effectiveness from CSNE to CNLE.", "decrease:table_5", ("edits",)),
    "table_6": Exhibit("Proficiency of A-GRACE.", "proficiency:table_6", ("metrics",), _AUGMENTED),
    "table_keys": Exhibit(
        "What generalization lacks: the key or the value.",
        "reach:table_keys",
        ("edits", "distances"),
        _ENCODED,
    ),
    "table_comparisons": Exhibit(
        "The best editor against the next best.", "comparisons:table_comparisons", ("metrics", "comparisons")
    ),
    "table_failures": Exhibit("Failed edits and why.", "failures:table_failures", ("edits",)),
    "table_published": Exhibit(
        "Difference to the published numbers.", "published:table_published", ("metrics", "edits")
    ),
    "table_slips": Exhibit("Statements of the paper against its own tables.", "slips:table_slips"),
}

FIGURES: Mapping[str, Exhibit] = {
    "figure_1": Exhibit(
        "Construction of the datasets: how many pairs are left after each stage.",
        "figures.construction:figure_1",
        ("stages",),
    ),
    "figure_2": Exhibit(
        "Euclidean distance of a request to its rephrase and to its nearest neighbour, between the keys of"
        " GRACE: part of the cases within a distance. A codebook answers up to the radius (dotted).",
        "figures.distances:figure_2",
        ("distances",),
        _ENCODED,
    ),
    "figure_3": Exhibit(
        "Time per edit. Points are single edits, bars span the quartiles, lines the 5th to the 95th"
        " percentile, diamonds are means.",
        "figures.costs:figure_3",
        ("edits",),
    ),
    "figure_4": Exhibit(
        "Peak memory per edit, drawn as the time per edit.", "figures.costs:figure_4", ("edits",)
    ),
    "figure_5": Exhibit(
        "Distances as before, between the keys of A-GRACE: after its encoder.",
        "figures.distances:figure_5",
        ("distances",),
        _ENCODED,
    ),
    "figure_6": Exhibit(
        "A case, chosen by chance: its texts, and the principal components of its keys before and after"
        " A-GRACE's encoder.",
        "figures.case:figure_6",
        ("distances", "cases"),
        _ENCODED,
    ),
    "figure_tradeoff": Exhibit(
        "Generalization against specificity (ROUGE-L); the larger the marker, the higher the effectiveness."
        " Lines are 95% intervals.",
        "figures.tradeoff:figure_tradeoff",
        ("metrics",),
    ),
    "figure_strata": Exhibit(
        "Effectiveness by the length of the target, specificity by the similarity of the nearest neighbour"
        " (ROUGE-L, quarters of the cases, means over models). Bands are the range over models.",
        "figures.strata:figure_strata",
        ("strata",),
    ),
    "figure_training": Exhibit(
        "What training learns, on cases apart from those it learns from. MALMEN: part of the tokens that are"
        " right; A-GRACE: rephrases whose key is within the radius, neighbours whose key is not.",
        "figures.training:figure_training",
        ("training",),
        _TRAINED,
    ),
    "figure_published": Exhibit(
        "This run against the published numbers (exact match); lines are 95% intervals.",
        "figures.published:figure_published",
        ("metrics", "edits"),
    ),
}


def tables(study: StudyConfig) -> dict[str, Exhibit]:
    """Return the tables of a study."""
    return _of(study, TABLES)


def figures(study: StudyConfig) -> dict[str, Exhibit]:
    """Return the figures of a study."""
    return _of(study, FIGURES)


def _of(study: StudyConfig, known: Mapping[str, Exhibit]) -> dict[str, Exhibit]:
    chosen = set(study.editor_names)
    return {name: one for name, one in known.items() if not one.editors or one.editors & chosen}


def inputs(study: StudyConfig, need: Need) -> list[str]:
    """Return the files of a need, below the folder of results."""
    if need == "study":
        return ["study.json"]
    if need in ("metrics", "comparisons", "strata", "training"):
        return [f"{need}.parquet"]
    if need == "edits":
        return [
            f"edits/{model}/{dataset}/{editor}/fold{fold}.parquet"
            for model in study.models
            for dataset in study.datasets
            for editor in study.editor_names
            for fold in range(study.folds)
        ]
    if need == "distances":
        return [
            f"distances/{model}/{dataset}.parquet" for model in study.models for dataset in study.datasets
        ]
    suffix = "parquet" if need == "cases" else "json"
    return [f"datasets/{dataset}/{need}.{suffix}" for dataset in study.datasets]


def files(study: StudyConfig, exhibit: Exhibit) -> list[str]:
    """Return all files that an exhibit is drawn from, below the folder of results."""
    return [path for need in ("study", *exhibit.needs) for path in inputs(study, need)]


def named(name: str, known: Mapping[str, Exhibit]) -> Exhibit:
    """Return an exhibit.

    Raises:
        UserError: there is none of this name.
    """
    if name not in known:
        raise UserError(f"{name!r}: no such exhibit; there are {', '.join(known)}")
    return known[name]
