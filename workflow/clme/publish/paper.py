"""Typesets the paper: LaTeX by latexmk, in a folder of its own, and refuses what isn't fit to print."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from clme.errors import UserError
from clme.files import atomic
from clme.publish.latex import escape

PACKAGES = "latexmk texlive-publishers texlive-fonts-recommended"
INSTALL = f"apt-get install --no-install-recommends {PACKAGES}"

_WARNINGS = re.compile(
    r"^(Overfull .*|LaTeX Warning: (?:Reference|Citation|There were undefined|Label).*|LaTeX Font Warning: .*"
    r"|Package natbib Warning: .*|Warning--.*)$",
    re.MULTILINE,
)
_ERRORS = re.compile(r"^! (.*)$", re.MULTILINE)


def typeset(sources: Path, numbers: Mapping[str, str], exhibits: Sequence[Path], output: Path) -> None:
    """Make the PDF; the same inputs give the same bytes.

    Args:
        sources: folder with paper.tex and its bibliography.
        numbers: text of each `\\result{name}`.
        exhibits: files of tables (.tex) and figures (.pdf).
        output: the PDF.

    Raises:
        UserError: LaTeX is missing, stops, or warns of overfull boxes, references or fonts.
    """
    if shutil.which("latexmk") is None:
        raise UserError(f"latexmk: not found, so the paper can't be typeset; install it by `{INSTALL}`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in sources.iterdir():
            if source.suffix in (".tex", ".bib"):
                shutil.copy(source, folder)
        for exhibit in exhibits:
            shutil.copy(exhibit, folder)
        (folder / "results.tex").write_text(
            macros(numbers, [path.stem for path in exhibits]), encoding="utf-8"
        )
        _run(folder)
        with atomic(output) as temporary:
            shutil.copyfile(folder / "paper.pdf", temporary)


def macros(numbers: Mapping[str, str], exhibits: Sequence[str]) -> str:
    """Return LaTeX that defines the numbers and which exhibits there are."""
    lines = [f"\\defineresult{{{name}}}{{{escape(text)}}}" for name, text in numbers.items()]
    lines += [f"\\defineexhibit{{{name}}}" for name in exhibits]
    return "\n".join(lines) + "\n"


def _run(folder: Path) -> None:
    # No dates: rebuilt from the same results, the file is the same.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "1000"}
    command = ["latexmk", "-norc", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace"
    )
    logs = [folder / "paper.log", folder / "paper.blg"]
    log = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in logs if path.exists())
    if done.returncode:
        found = _ERRORS.findall(log) or done.stderr.strip().splitlines()[-1:]
        raise UserError(f"paper.tex: LaTeX stopped: {'; '.join(found[:3])}")
    warnings = list(dict.fromkeys(_WARNINGS.findall(log)))
    if warnings:
        raise UserError(f"paper.tex: LaTeX warns: {'; '.join(warnings[:5])}")
