"""Text to tokens and back, as the study's protocol wants it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from clme.errors import UserError, first_line


@dataclass(frozen=True)
class EncodedRequest:
    """A prompt and its target as token ids; one after the other they are the whole text's ids.

    Attributes:
        prompt: at least one.
        target: at least one.
        prompt_in_text: the prompt's ids where it follows other text and a space.
        last_word: how many of the prompt's last tokens hold its last word (what follows the last space).
    """

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    prompt_in_text: tuple[int, ...]
    last_word: int


class Tokenizer:
    """A model's tokenizer without BOS token and with character offsets.

    Args:
        fast: the tokenizer; must give offsets.
        ends: ids of the tokens that end a text.
    """

    def __init__(self, fast: PreTrainedTokenizerFast, ends: frozenset[int]) -> None:
        self._fast = fast
        self.ends = ends

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Load the tokenizer of a model folder, with the ends that `generate` would stop at.

        Raises:
            UserError: the folder holds no tokenizer, or one that can't give character offsets.
        """
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # damaged files raise all kinds
            raise UserError(
                f"{folder}: no tokenizer can be loaded from here ({first_line(error)})"
            ) from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise UserError(f"{folder}: its tokenizer has no `tokenizer.json` and gives no character offsets")
        try:
            config = GenerationConfig.from_pretrained(folder, local_files_only=True)
        except OSError:
            config = GenerationConfig()
        ends = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
        listed = ends if isinstance(ends, list) else [] if ends is None else [ends]
        return cls(tokenizer, frozenset(listed))

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the token ids of `text`, without special tokens."""
        return tuple(self._fast(text, add_special_tokens=False).input_ids)

    def encode_request(self, prompt: str, target: str) -> EncodedRequest:
        """Tokenise prompt, space and target as one text and find the border by character offsets.

        Raises:
            UserError: the target is empty, or the tokenizer merges it into the prompt.
        """
        if not target.strip():
            raise UserError("the target is empty; give it text, or leave the case out")
        whole = self._fast(f"{prompt} {target}", add_special_tokens=False, return_offsets_mapping=True)
        border = sum(start < len(prompt) and end > 0 for start, end in whole.offset_mapping)
        ids = tuple(whole.input_ids)
        if ids[:border] != self.encode(prompt) or border == len(ids):
            raise UserError(
                f"the tokenizer merges the end of the prompt ({prompt[-12:]!r}) with the start of the target"
                f" ({target[:12]!r}); leave the case out"
            )
        word = prompt.rfind(" ") + 1
        last_word = sum(start < len(prompt) and end > word for start, end in whole.offset_mapping)
        return EncodedRequest(ids[:border], ids[border:], self._in_text(prompt), last_word)

    def _in_text(self, prompt: str) -> tuple[int, ...]:
        """Return the ids of a prompt that follows a full stop and a space."""
        found = self._fast(f". {prompt}", add_special_tokens=False, return_offsets_mapping=True)
        stops = sum(end <= 1 for _, end in found.offset_mapping)
        return tuple(found.input_ids[stops:])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids` without special tokens."""
        return str(self._fast.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
