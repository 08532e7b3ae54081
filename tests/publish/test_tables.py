"""Tables as values, in LaTeX and HTML."""

import json

import pytest
import synthetic

from clme.files import read_metadata, read_parquet, write_parquet
from clme.publish import drawing, exhibits, proficiency, tables
from clme.publish.results import Results
from clme.study.schema import EDITS


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.write(tmp_path_factory.mktemp("results")), synthetic.PUBLISHED)


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
    found = results.metrics.set_index(["dataset", "editor", "dimension", "metric"])
    for row, editor in zip(table.sections[0], ["none", "ft_l", "", "", "", "", "grace"], strict=True):
        if not editor:
            continue
        expected = [
            found.loc[(dataset, editor, dimension, metric), "value"]
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
    row = (tables.Cell("#1"), tables.number(1.0, bold=True), tables.number(None))
    head = (tables.Cell("x"), tables.Cell("both", span=2))
    table = tables.Table("t", "50% of A_B & C", (head,), ((row,),))
    text = tables.latex(table)
    assert r"50{\%} of A{\_}B {\&} C" in text
    assert r"\multicolumn{2}{c}{both}" in text
    assert r"\cmidrule(lr){2-3}" in text
    assert r"{\#}1 & \textbf{1.00} & {\textendash}" in text


def test_html_holds_every_cell_with_its_value(tmp_path, results):
    drawing.write_table("table_4", results, tmp_path)
    page = (tmp_path / "table_4.html").read_text()
    table = proficiency.table_4(results)
    for row in table.sections[0]:
        for cell in row[1:]:
            assert f">{cell.text}<" in page
            assert cell.value is None or f'data-order="{cell.value}"' in page
    assert page.count("95% interval") == 3 * 20


def test_html_escapes():
    table = tables.Table("t", "a < b", ((tables.Cell("<script>"),),), (((tables.Cell("&"),),),))
    page = tables.html(table)
    assert "<script>" not in page
    assert "a &lt; b" in page


def test_tables_of_edits_say_that_a_fast_mode_was_used(tmp_path):
    config = synthetic.study(editors=("none", "memit", "pmet", "grace"))
    folder = synthetic.write(tmp_path, config)
    note = "second moments over 10 of 100 texts of packages"
    for editor in ("memit", "pmet"):
        path = folder / "edits/tiny/cnle" / editor / "fold0.parquet"
        kept = read_metadata(path)
        write_parquet(
            path,
            read_parquet(path, schema=EDITS),
            schema=EDITS,
            metadata={**kept, "notes": json.dumps([note])},
        )
    found = Results(folder, synthetic.PUBLISHED)
    for name, exhibit in exhibits.tables(config).items():
        said = f"MEMIT and PMET: {note}." in exhibit.make(found).notes
        assert said == (name not in ("table_1", "table_2", "table_3", "table_slips")), name
