"""Tables as values, and their forms in LaTeX and HTML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jinja2

from clme.publish.latex import escape

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        value: the number behind the text; what a table is sorted by.
        bold: whether it is the best of its column.
        span: columns that it covers.
        note: what is said on demand, such as the interval.
    """

    text: str
    value: float | None = None
    bold: bool = False
    span: int = 1
    note: str = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: such as ``table_4``; its label and the name of its files.
        caption: one or more sentences.
        head: header rows; each covers all columns.
        sections: groups of rows, parted by a line.
        notes: sentences below it.
        wide: whether it takes both columns of the page.
        texts: how many of the first columns hold text; the others hold numbers.
        groups: what the sections are of, where rows of several are sorted together; else empty.
        wrap: columns, from 0, whose texts are broken into lines, and their part of the width.
    """

    name: str
    caption: str
    head: tuple[Row, ...]
    sections: tuple[tuple[Row, ...], ...]
    notes: tuple[str, ...] = ()
    wide: bool = False
    texts: int = 1
    wrap: Mapping[int, float] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    @property
    def columns(self) -> int:
        """The number of columns."""
        return sum(cell.span for cell in self.head[0])


def number(value: float | None, digits: int = 2, *, bold: bool = False, note: str = "") -> Cell:
    """Return a number's cell; None is shown as missing."""
    if value is None:
        return Cell(MISSING)
    return Cell(f"{value:.{digits}f}", value, bold, note=note)


def flat(table: Table) -> list[Row]:
    """Return all rows as a table that can be sorted has them: with their group, without sections' titles."""
    groups = table.groups or ("",) * len(table.sections)
    return [
        (Cell(group), *row) if table.groups else row
        for group, section in zip(groups, table.sections, strict=True)
        for row in section
        if row[0].span == 1
    ]


def latex(table: Table) -> str:
    """Return a table as a LaTeX float with caption and label; needs array, booktabs, graphicx."""
    templates = environment(
        variable_start_string="\\VAR{",
        variable_end_string="}",
        block_start_string="\\BLOCK{",
        block_end_string="}",
        comment_start_string="\\#{",
        comment_end_string="}",
    )
    templates.filters |= {"tex": escape, "cells": _latex_row}
    return templates.get_template("table.tex").render(
        table=table, rules=_rules(table), columns=_columns(table)
    )


def _columns(table: Table) -> str:
    """Return the column specification."""
    kinds = ["l"] * table.texts + ["r"] * (table.columns - table.texts)
    for column, part in table.wrap.items():
        kinds[column] = f">{{\\raggedright\\arraybackslash}}p{{{part}\\linewidth}}"
    return "@{}" + "".join(kinds) + "@{}"


def _latex_row(row: Row) -> str:
    """Return a row's cells; those that span columns are centred."""
    found = []
    for cell in row:
        text = f"\\textbf{{{escape(cell.text)}}}" if cell.bold else escape(cell.text)
        if cell.span > 1:
            # Centred in a header, at the left as a section's title.
            text = f"\\multicolumn{{{cell.span}}}{{{'c' if row[0] is not cell else '@{}l@{}'}}}{{{text}}}"
        found.append(text)
    return " & ".join(found)


def html(table: Table) -> str:
    """Return a table as an HTML page of its own."""
    return environment(autoescape=True).get_template("table.html").render(table=table)


def environment(**options: Any) -> jinja2.Environment:
    """Return the environment of this package's templates.

    Args:
        options: of `jinja2.Environment`, over those that all templates share.
    """
    return jinja2.Environment(
        loader=jinja2.PackageLoader("clme.publish"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


def _rules(table: Table) -> list[str]:
    """Return, for each header row, the partial rules below its spanning cells."""
    found = []
    for row in table.head:
        start, rules = 1, []
        for cell in row:
            if cell.span > 1:
                rules.append(f"\\cmidrule(lr){{{start}-{start + cell.span - 1}}}")
            start += cell.span
        found.append("".join(rules))
    return found


def best(values: Mapping[str, float | None], digits: int = 2) -> set[str]:
    """Return whose value is the highest as printed; ties share it, the missing never win."""
    printed = {name: round(value, digits) for name, value in values.items() if value is not None}
    return {name for name, value in printed.items() if value == max(printed.values())}
