"""Tables as values, in LaTeX and HTML."""

import pandas as pd
import pytest
import synthetic

from clme.publish import exhibits, proficiency, tables
from clme.publish.results import Results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.write(tmp_path_factory.mktemp("results")))


def test_table_4_rows_are_editors_in_the_papers_order_and_show_the_missing(results):
    table = proficiency.table_4(results)
    (section,) = table.sections
    assert [row[0].text for row in section] == [
        "Tiny", "FT-L", "ROME", "MEMIT", "PMET", "MALMEN", "GRACE",
    ]  # fmt: skip
    rome = section[2]
    assert {cell.text for cell in rome[1:]} == {tables.MISSING}
    assert all(cell.value is None for cell in rome[1:])
    assert any("ROME, MEMIT, PMET and MALMEN" in note for note in table.notes)


def test_table_4_shows_the_metrics_values(results):
    table = proficiency.table_4(results)
    found = results.metrics
    for row, editor in zip(table.sections[0], ["none", "ft_l", "", "", "", "", "grace"], strict=True):
        if not editor:
            continue
        expected = [
            found.query(
                "dataset == @dataset and editor == @editor and dimension == @dimension and metric == @metric"
            )["value"].item()
            for dataset in ("cnle", "csne")
            for dimension, metric in proficiency.COLUMNS
        ]
        assert [cell.value for cell in row[1:]] == pytest.approx(expected)


def test_bold_is_the_best_edited_row_of_each_column(results):
    section = proficiency.table_4(results).sections[0]
    for column in range(1, len(section[0])):
        edited = [row[column] for row in section[1:] if row[column].value is not None]
        top = max(round(cell.value, 2) for cell in edited)
        assert not section[0][column].bold
        assert all(cell.bold == (round(cell.value, 2) == top) for cell in edited)


def test_ties_share_the_bold_and_the_missing_never_win():
    assert tables.best({"a": 1.001, "b": 1.004, "c": 0.5, "d": None}) == {"a", "b"}
    assert tables.best({"a": None}) == set()


def test_latex_escapes_and_covers_all_columns():
    table = tables.Table(
        "t", "50% of A_B & C", ((tables.Cell("x"), tables.Cell("both", span=2)),),
        (((tables.Cell("#1"), tables.number(1.0, bold=True), tables.number(None))),) and
        (((tables.Cell("#1"), tables.number(1.0, bold=True), tables.number(None)),),),
    )  # fmt: skip
    text = tables.latex(table)
    assert r"50{\%} of A{\_}B {\&} C" in text
    assert r"\multicolumn{2}{c}{both}" in text
    assert r"\cmidrule(lr){2-3}" in text
    assert r"{\#}1 & \textbf{1.00} & {\textendash}" in text


def test_html_keeps_values_and_escapes(tmp_path, results):
    exhibits.write_table("table_4", results, tmp_path)
    page = (tmp_path / "table_4.html").read_text()
    (frame,) = pd.read_html(tmp_path / "table_4.html") if _has_lxml() else (None,)
    assert "<script" not in page
    assert 'title="95% interval' in page
    if frame is not None:
        assert frame.shape == (7, 21)


def _has_lxml():
    try:
        import lxml  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True
