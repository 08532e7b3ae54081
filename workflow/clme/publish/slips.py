"""Statements of the paper, checked against its own tables by code."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from clme.publish.results import Results
from clme.publish.tables import Cell, Row, Table


@dataclass(frozen=True)
class Check:
    """A statement and what the tables say.

    Attributes:
        where: section of the paper.
        statement: in our words.
        stated: the number or word of the statement.
        found: what the tables give.
        agrees: whether both are the same.
    """

    where: str
    statement: str
    stated: str
    found: str
    agrees: bool


def checks(results: Results) -> list[Check]:
    """Check all statements."""
    tables = Published(results.published_csv)
    return [one for check in _CHECKS for one in check(tables)]


class Published:
    """The paper's tables.

    Args:
        read: returns a table by its name.
    """

    def __init__(self, read: Callable[[str], pd.DataFrame]) -> None:
        self.grades = read("table2").set_index("level")["count"]
        self.counts = read("table3").set_index(["role", "dataset"])["count"]
        self.decreases = read("table5").set_index("model")
        keys = ["model", "editor", "dataset", "dimension", "metric"]
        self.table_4 = read("table4").set_index(keys)["value"].sort_index()
        self.table_6 = read("table6").set_index(keys)["value"].sort_index()

    @property
    def models(self) -> list[str]:
        """The paper's models."""
        return [str(name) for name in self.decreases.index if name != "Avg."]

    @property
    def editors(self) -> list[str]:
        """The editors of Table IV, without the unedited model."""
        return [str(name) for name in self.decreases.columns]


def _compared(where: str, statement: str, stated: float, found: float, digits: int = 2) -> Check:
    same = bool(abs(stated - found) <= 0.5 * 10**-digits + 1e-9)
    return Check(where, statement, f"{stated:.{digits}f}", f"{found:.{digits}f}", same)


def _average_of_a_grace(tables: Published) -> list[Check]:
    values = [tables.table_6[model, "A-GRACE", "CNLE", "generalization", "em"] for model in tables.models]
    mean = sum(values) / len(values)
    return [_compared("I", "A-GRACE's mean generalization (EM) on CNLE", 76.63, mean)]


def _baselines_in_the_text(tables: Published) -> list[Check]:
    grace = {
        task: tables.table_6["CodeLlama", "GRACE", task, "generalization", "em"] for task in ("CNLE", "CSNE")
    }
    said = {"CNLE": 0.02, "CSNE": 9.16}
    return [
        _compared("IV-C", f"GRACE's generalization (EM) for CodeLlama on {task}", said[task], value)
        for task, value in grace.items()
    ]


def _rouge_of_grace(tables: Published) -> list[Check]:
    value = tables.table_4["CodeLlama", "GRACE", "CNLE", "effectiveness", "rougeL"]
    return [_compared("IV-A", "GRACE's effectiveness (ROUGE-L) for CodeLlama on CNLE", 99.29, value)]


def _always_most_effective(tables: Published) -> list[Check]:
    statement = "GRACE is always the most effective (EM) and most specific (EM)"
    exceptions = []
    for model in tables.models:
        for task in ("CNLE", "CSNE"):
            for dimension in ("effectiveness", "specificity"):
                values = {name: tables.table_4[model, name, task, dimension, "em"] for name in tables.editors}
                first = max(values, key=values.__getitem__)
                if first != "GRACE":
                    exceptions.append(f"{first} for {model} on {task}, {dimension}")
    return [Check("I, IV-A", statement, "always", "; ".join(exceptions) or "always", not exceptions)]


def _decreases(tables: Published) -> list[Check]:
    wrong = []
    for model in tables.models:
        for editor in tables.editors:
            less, base = (
                tables.table_4[model, editor, task, "effectiveness", "em"] for task in ("CNLE", "CSNE")
            )
            again = 100 * (base - less) / base
            if abs(again - float(tables.decreases[editor][model])) > 0.01:
                wrong.append(f"{editor} for {model}: {again:.2f}")
    statement = "Table V follows from Table IV"
    return [Check("IV-A", statement, "all cells", "; ".join(wrong) or "all cells", not wrong)]


def _smallest_mean_decrease(tables: Published) -> list[Check]:
    least = min(float(tables.decreases[editor]["Avg."]) for editor in tables.editors if editor != "GRACE")
    statement = "all but GRACE lose more than 48% on average"
    return [Check("IV-A", statement, "more than 48", f"at least {least:.2f}", least > 48)]


def _worse_in_generation(tables: Published) -> list[Check]:
    exceptions = [
        f"{editor} for {model}"
        for model in tables.models
        for editor in tables.editors
        if tables.table_4[model, editor, "CNLE", "effectiveness", "em"]
        >= tables.table_4[model, editor, "CSNE", "effectiveness", "em"]
    ]
    statement = "every editor is less effective (EM) on CNLE than on CSNE"
    return [Check("IV-A", statement, "always", "; ".join(exceptions) or "always", not exceptions)]


def _generalization_above_half(tables: Published) -> list[Check]:
    count = sum(
        bool(tables.table_4[model, editor, task, "generalization", "em"] > 50)
        for model in tables.models
        for editor in tables.editors
        for task in ("CNLE", "CSNE")
    )
    return [_compared("IV-A", "cells with generalization (EM) above 50%", 4, count, 0)]


def _nothing_else_declines(tables: Published) -> list[Check]:
    drops = {
        (model, task): float(tables.table_6[model, "GRACE", task, "specificity", "em"])
        - float(tables.table_6[model, "A-GRACE", task, "specificity", "em"])
        for model in tables.models
        for task in ("CNLE", "CSNE")
    }
    (model, task), most = max(drops.items(), key=lambda item: item[1])
    found = f"specificity (EM) falls by up to {most:.2f} points ({model}, {task})"
    statement = "A-GRACE generalizes without significant declines elsewhere"
    return [Check("IV-C", statement, "no significant decline", found, bool(most < 5))]


def _same_rows(tables: Published) -> list[Check]:
    shared = tables.table_4.index.intersection(tables.table_6.index)
    apart = [key for key in shared if abs(tables.table_4[key] - tables.table_6[key]) > 1e-9]
    said = "; ".join(" ".join(map(str, key)) for key in apart[:3])
    return [Check("IV", "Tables IV and VI agree where they overlap", f"{len(shared)} cells", said or
                  f"{len(shared)} cells", not apart)]  # fmt: skip


def _unedited_is_exact(tables: Published) -> list[Check]:
    values = [tables.table_4[model, "none", task, "specificity", "em"] for model in tables.models
              for task in ("CNLE", "CSNE")]  # fmt: skip
    statement = "the unedited model agrees with itself (specificity EM)"
    return [Check("IV-A", statement, "100", f"{min(values):.2f} to {max(values):.2f}", min(values) == 100)]


def _more_specific_than_unedited(tables: Published) -> list[Check]:
    above = [
        f"{editor} for {model} on {task}"
        for model in tables.models
        for editor in tables.editors
        for task in ("CNLE", "CSNE")
        if tables.table_4[model, editor, task, "specificity", "em"]
        > tables.table_4[model, "none", task, "specificity", "em"]
    ]
    statement = "no editor is more specific (EM) than the unedited model"
    return [Check("IV-A", statement, "none", "; ".join(above) or "none", not above)]


def _counts(tables: Published) -> list[Check]:
    def count(role: str, task: str) -> int:
        return int(tables.counts[role, task])

    graded, targeted = int(tables.grades.sum()), count("effectiveness_input", "CNLE")
    statement = "grades add up to the 594K mined pairs"
    found = [
        Check("III-C", statement, "594K", f"{graded:,}", round(graded / 1000) == 594),
        _compared("III-C", "a sixth of 126,330 pairs is targeted", 126_330 / 6, targeted, 0),
    ]
    for task in ("CNLE", "CSNE"):
        cases, near = count("effectiveness_input", task), count("specificity_input", task)
        found.append(_compared("III-C", f"five neighbours for each case of {task}", 5 * cases, near, 0))
        answers = count("specificity_target", task)
        found.append(_compared("III-C", f"answers of three models on {task}", 3 * near, answers, 0))
    return found


_CHECKS = (
    _average_of_a_grace,
    _baselines_in_the_text,
    _rouge_of_grace,
    _always_most_effective,
    _nothing_else_declines,
    _unedited_is_exact,
    _more_specific_than_unedited,
    _decreases,
    _smallest_mean_decrease,
    _worse_in_generation,
    _generalization_above_half,
    _same_rows,
    _counts,
)


def table_slips(results: Results) -> Table:
    """All statements, first those that the tables contradict."""
    found = checks(results)
    sections = tuple(
        tuple(_line(one) for one in found if one.agrees == agrees)
        for agrees in (False, True)
        if any(one.agrees == agrees for one in found)
    )
    head = tuple(map(Cell, ("Section", "Statement", "Stated", "Tables", "Agrees")))
    notes = ("Tables are the paper's own, as published. MALMEN edits five layers by the text and six by the"
             " released settings; no table can decide that.",)  # fmt: skip
    return Table("table_slips", "Statements of the paper against its own tables.", (head,), sections, notes,
                 wide=True, texts=5, wrap={1: 0.3, 3: 0.42})  # fmt: skip


def _line(one: Check) -> Row:
    texts = (one.where, one.statement, one.stated, one.found, "yes" if one.agrees else "no")
    return tuple(map(Cell, texts))


def contradicted(results: Results) -> str:
    """Return how many statements were checked and how many don't agree, for the paper's text."""
    found = checks(results)
    wrong = sum(not one.agrees for one in found)
    return f"{wrong} of {len(found)} statements"
