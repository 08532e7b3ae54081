"""The unedited model: the first row of each block of Tables IV and VI."""

from collections.abc import Sequence

from clme.editors.base import Editor, EditorConfig, Failure, Request
from clme.edits import Edit
from clme.models.decoder import Decoder


class Unedited(Editor):
    """Changes nothing."""

    name = "none"
    Config = EditorConfig

    def edit(self, decoder: Decoder, requests: Sequence[Request]) -> list[Edit | Failure]:
        """Return empty edits."""
        return [Edit() for _ in requests]
