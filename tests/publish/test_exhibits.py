"""All exhibits, on a study without A-GRACE, and on one case."""

import shutil
import subprocess

import pandas as pd
import pytest
import synthetic

from clme.errors import UserError
from clme.publish import comparisons, decrease, drawing, exhibits, numbers, published, reach, slips
from clme.publish.paper import typeset
from clme.publish.results import Results

PAPER = synthetic.PUBLISHED.parent


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(synthetic.write(tmp_path_factory.mktemp("results")), synthetic.PUBLISHED)


@pytest.fixture(scope="module")
def drawn(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return folder, drawing.write_all(results, folder)


def test_every_exhibit_of_the_study_is_written_in_all_formats(drawn):
    folder, names = drawn
    assert {"table_1", "table_4", "table_5", "figure_1", "figure_3", "figure_4"} <= set(names)
    assert not {"table_6", "figure_2", "figure_5", "figure_6"} & set(names)
    for name in names:
        kind = "tables" if name.startswith("table") else "figures"
        suffixes = (".tex", ".html") if kind == "tables" else (".pdf", ".svg", ".png")
        assert all((folder / kind / f"{name}{suffix}").stat().st_size > 0 for suffix in suffixes)


def test_drawing_again_gives_the_same_bytes(results, drawn, tmp_path):
    folder, _ = drawn
    drawing.write_figure("figure_tradeoff", results, tmp_path)
    drawing.write_figure("figure_3", results, tmp_path)
    drawing.write_table("table_5", results, tmp_path)
    for path in tmp_path.iterdir():
        kind = "tables" if path.stem.startswith("table") else "figures"
        assert path.read_bytes() == (folder / kind / path.name).read_bytes(), path.name


def test_a_study_of_one_case_and_one_fold_draws(tmp_path):
    config = synthetic.study(folds=1)
    one = Results(synthetic.write(tmp_path, config, cases=1, timed=1), synthetic.PUBLISHED)
    assert "figure_strata" in drawing.write_all(one, tmp_path)
    assert numbers.numbers(one)["edits"] == "4"


def test_an_untimed_study_draws_and_says_so(tmp_path):
    none = Results(synthetic.write(tmp_path, cases=2, timed=0), synthetic.PUBLISHED)
    drawing.write_figure("figure_3", none, tmp_path)
    assert numbers.numbers(none)["claim/time"] == "No edits were timed in this run."


def test_the_papers_known_slips_are_found_and_its_consistent_statements_hold(results):
    found = {one.statement: one for one in slips.checks(results)}
    average = found["A-GRACE's mean generalization (EM) on CNLE"]
    assert (average.stated, average.found, average.agrees) == ("76.63", "61.25", False)
    base = found["GRACE's generalization (EM) for CodeLlama on CSNE"]
    assert (base.stated, base.found, base.agrees) == ("9.16", "11.46", False)
    assert not found["GRACE's effectiveness (ROUGE-L) for CodeLlama on CNLE"].agrees
    assert found["Table V follows from Table IV"].agrees
    table = slips.table_slips(results)
    assert sum(map(len, table.sections)) == len(found)
    assert [row[-1].text for row in table.sections[0]] == ["no"] * len(table.sections[0])


def test_decrease_is_of_the_value_on_csne(results):
    found = decrease.decreases(results)
    assert "none" not in {editor for _, editor in found}
    em = results.metrics.query("editor == 'grace' and dimension == 'effectiveness' and metric == 'em'")
    values = em.set_index("dataset")["value"]
    expected = 100 * (values["csne"] - values["cnle"]) / values["csne"]
    one = found["tiny", "grace"]
    assert one.value == pytest.approx(expected)
    assert one.low <= one.value <= one.high


def test_every_published_cell_is_there_and_ours_are_null_where_not_run(results):
    found = published.against(results)
    assert found.groupby("table").size().to_dict() == {"table4": 140, "table5": 6, "table6": 100}
    assert found[found["editor"] == "rome"]["value"].isna().all()
    ours = found[(found["table"] == "table4") & (found["editor"] == "grace")]
    assert (ours["difference"] == ours["value"] - ours["published"]).all()
    grace = ours[
        (ours["dataset"] == "cnle") & (ours["dimension"] == "effectiveness") & (ours["metric"] == "em")
    ]
    assert grace["published"].item() == pytest.approx((93.67 + 90.34 + 80.09) / 3)


def test_what_generalization_lacks_is_due_to_the_key_or_to_the_value():
    distances = pd.DataFrame(
        {
            "case_id": ["d", "c", "b", "a", "a"],
            "key": [*["last"] * 4, "mean"],
            "radius": 1.0,
            "to_rephrase": [2.0, 2.0, 0.5, 1.0, 9.0],
        }
    )
    edits = pd.DataFrame({"case_id": ["a", "b", "c", "d"], "generalization_em": [1.0, 0.0, 0.0, 1.0]})
    found = reach.parts(distances, edits, "grace")
    assert found == {"fires": 0.5, "exact": 0.5, "by_key": 0.25, "by_value": 0.25}


def test_a_study_with_a_grace_has_its_exhibits(tmp_path):
    config = synthetic.study(editors=["none", "grace", "a_grace_wo_cl", "a_grace"])
    full = Results(synthetic.write(tmp_path, config, cases=6), synthetic.PUBLISHED)
    assert {"table_6", "table_keys", "figure_2", "figure_5", "figure_6"} <= set(
        drawing.write_all(full, tmp_path)
    )
    for row in reach.table_keys(full).sections[0]:
        for first in (1, 5):
            _, exact, key, value = (cell.value for cell in row[first : first + 4])
            assert exact + key + value == pytest.approx(100)


def test_the_lead_is_of_the_best_over_the_next(results):
    found = comparisons.lead(results, "tiny", "cnle", "effectiveness")
    assert found.best == ("grace",)
    assert found.second == "ft_l"
    difference, low, high = found.difference
    values = [results.cell("tiny", "cnle", one, "effectiveness", "em")["value"] for one in ("grace", "ft_l")]
    assert difference == pytest.approx(values[0] - values[1])
    assert low <= difference <= high


def test_missing_results_are_named(tmp_path, results):
    with pytest.raises(UserError, match=r"study\.json: no such file"):
        drawing.write_table("table_1", Results(tmp_path, synthetic.PUBLISHED), tmp_path)
    with pytest.raises(UserError, match="no such exhibit; there are table_1"):
        drawing.write_table("table_9", results, tmp_path)
    with pytest.raises(UserError, match="--published"):
        drawing.write_table("table_2", Results(results.folder, tmp_path), tmp_path)


def test_mixed_results_are_refused_with_both_files_named(tmp_path):
    folder = synthetic.write(tmp_path / "one", cases=2)
    other = synthetic.write(tmp_path / "two", synthetic.study(seed=1), cases=2)
    path = "edits/tiny/csne/grace/fold1.parquet"
    shutil.copy(other / path, folder / path)
    with pytest.raises(UserError, match="different seed") as caught:
        drawing.write_figure("figure_3", Results(folder, synthetic.PUBLISHED), tmp_path)
    assert str(folder / path) in str(caught.value)
    assert "fold0.parquet" in str(caught.value)


needs_latex = pytest.mark.skipif(shutil.which("latexmk") is None, reason="latexmk isn't installed")


def _printed(folder):
    files = [*folder.glob("tables/*.tex"), *folder.glob("figures/*.pdf")]
    return sorted(path for path in files if path.stem != "table_4_intervals")


@needs_latex
def test_the_paper_is_typeset_and_rebuilt_byte_by_byte(results, drawn, tmp_path):
    folder, _ = drawn
    found = numbers.numbers(results)
    for name in ("one.pdf", "two.pdf"):
        typeset(PAPER, found, _printed(folder), tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()
    if shutil.which("pdffonts"):
        listed = subprocess.run(
            ["pdffonts", tmp_path / "one.pdf"], capture_output=True, text=True, check=True
        )
        fonts = [line.split() for line in listed.stdout.splitlines()[2:]]
        assert fonts
        assert all("yes" in font[-5] and "Type 3" not in " ".join(font) for font in fonts)


@needs_latex
def test_a_missing_number_stops_the_paper_with_its_name(results, drawn, tmp_path):
    folder, _ = drawn
    found = numbers.numbers(results)
    del found["claim/tasks"]
    with pytest.raises(UserError, match="no result named claim/tasks"):
        typeset(PAPER, found, _printed(folder), tmp_path / "paper.pdf")
    assert not (tmp_path / "paper.pdf").exists()


def test_without_latex_the_apt_line_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install --no-install-recommends latexmk"):
        typeset(PAPER, {}, [], tmp_path / "paper.pdf")


def test_exhibits_say_which_files_they_are_drawn_from(results):
    known = exhibits.tables(results.study) | exhibits.figures(results.study)
    for exhibit in known.values():
        for path in exhibits.files(results.study, exhibit):
            assert (results.folder / path).exists()
