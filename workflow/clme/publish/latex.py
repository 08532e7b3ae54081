"""Text that LaTeX prints as it stands."""

from pylatexenc.latexencode import UnicodeToLatexEncoder

_ENCODER = UnicodeToLatexEncoder(replacement_latex_protection="braces-all", unknown_char_policy="fail")


def escape(text: str) -> str:
    """Return `text` with all that LaTeX would take for a command or can't print written as commands.

    Raises:
        ValueError: there is no LaTeX for one of the characters.
    """
    encoded: str = _ENCODER.unicode_to_latex(text)
    return encoded
