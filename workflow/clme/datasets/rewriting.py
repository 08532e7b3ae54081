"""Rewrites intents by a lexicon and syntactic frames (Section III-C, Step 3, without a language model).

The frames of the two folds differ: an editor that is trained on one fold must not find the test
fold's frames in it.
"""

import re

import numpy as np

_VERBS = {
    "add": ("insert", "include"),
    "append": ("add", "attach"),
    "apply": ("use", "carry out"),
    "assert": ("verify", "make sure of"),
    "assign": ("set", "bind"),
    "calculate": ("compute", "work out"),
    "change": ("modify", "alter"),
    "check whether": ("determine if", "test if"),
    "clear": ("empty", "wipe"),
    "combine": ("merge", "put together"),
    "compute": ("calculate", "work out"),
    "concatenate": ("join", "chain"),
    "convert": ("turn", "transform"),
    "copy": ("duplicate", "clone"),
    "count": ("tally", "find the number of"),
    "create": ("build", "construct"),
    "define": ("declare", "specify"),
    "delete": ("remove", "erase"),
    "drop": ("remove", "discard"),
    "exclude": ("leave out", "omit"),
    "extract": ("pull out", "obtain"),
    "fill": ("populate", "replace"),
    "filter": ("select", "keep only"),
    "find": ("locate", "look up"),
    "flatten": ("unnest", "collapse"),
    "format": ("render", "write out"),
    "generate": ("produce", "make"),
    "get": ("fetch", "obtain"),
    "insert": ("put", "place"),
    "install": ("set up", "add"),
    "iterate": ("loop", "run"),
    "join": ("combine", "concatenate"),
    "keep": ("retain", "preserve"),
    "limit": ("restrict", "cap"),
    "list": ("enumerate", "show"),
    "loop": ("iterate", "go"),
    "map": ("translate", "transform"),
    "mask": ("mark", "flag"),
    "merge": ("combine", "unite"),
    "move": ("relocate", "shift"),
    "open": ("access", "load"),
    "parse": ("read", "interpret"),
    "plot": ("draw", "show"),
    "prepend": ("put in front", "add at the start"),
    "print": ("display", "output"),
    "raise": ("throw", "trigger"),
    "read": ("load", "take in"),
    "remove": ("delete", "drop"),
    "rename": ("change the name of", "relabel"),
    "reorder": ("rearrange", "change the order of"),
    "repeat": ("replicate", "duplicate"),
    "replace": ("substitute", "swap out"),
    "replicate": ("repeat", "copy"),
    "reverse": ("invert", "flip"),
    "run": ("execute", "start"),
    "sample": ("draw", "pick"),
    "select": ("choose", "pick"),
    "set": ("assign", "define"),
    "shift": ("move", "displace"),
    "shuffle": ("randomly reorder", "scramble"),
    "skip": ("leave out", "pass over"),
    "sort": ("order", "arrange"),
    "split": ("break", "divide"),
    "sum": ("add up", "total"),
    "swap": ("exchange", "switch"),
    "transform": ("convert", "change"),
    "trim": ("cut", "strip"),
    "truncate": ("cut off", "shorten"),
    "update": ("modify", "change"),
    "write": ("save", "store"),
}

_NOUNS = {
    "a dict": "a dictionary",
    "number of": "count of",
    "missing values": "absent values",
    "missing value": "absent value",
    "ascending": "in increasing order",
    "descending": "in decreasing order",
    "elements": "items",
    "element": "item",
    "multiple": "several",
    "index": "position",
    "length": "size",
    "entries": "records",
    "unique": "distinct",
    "duplicate": "repeated",
    "random": "randomly chosen",
    "first": "leading",
    "dataframe": "data frame",
    "contains": "includes",
    "contain": "include",
    "current": "present",
}

FRAMES = (
    ("given {thing}, {action}", "{action}, for {thing} at hand", "take {thing} and {action}"),
    (
        "how can I {action} with {thing}?",
        "when I have {thing}, I want to {action}",
        "for {thing}: how to {action}?",
    ),
)
"""Per fold: where the thing that the intent is about goes. Of each pair of verbs, the second is fold 1's."""

_PLAIN_FRAMES = (
    ("please {action}", "the task is to {action}", "write Python that can {action}"),
    ("how do I {action}?", "what is the way to {action}?", "I need to {action}"),
)

_THING = re.compile(r"^(?P<action>.+?) (?:in|of) (?P<thing>an? [\w ]+)$")
_CODE = re.compile(r"(`[^`]*`|'[^']*'|\"[^\"]*\")")


def rewrite(intent: str, fold: int, random: np.random.Generator) -> str | None:
    """Say an intent in other words and another form.

    Args:
        intent: an instruction that begins with a verb; what stands in quotes or backticks is kept.
        fold: which of the frames are used.
        random: chooses the frame.

    Returns:
        The rewritten intent; None if its verb isn't in the lexicon.
    """
    verb = next((v for v in sorted(_VERBS, key=len, reverse=True) if re.match(rf"{v}\b", intent)), None)
    if verb is None:
        return None
    other = _VERBS[verb][fold % len(_VERBS[verb])]
    rest = intent[len(verb) :].strip()
    parted = None if verb == "check whether" else _THING.match(rest)
    if parted is not None:
        frames = FRAMES[fold % len(FRAMES)]
        action, thing = _other_nouns(parted["action"]), _other_nouns(parted["thing"])
    else:
        frames = _PLAIN_FRAMES[fold % len(_PLAIN_FRAMES)]
        action, thing = _other_nouns(rest), ""
    frame = frames[int(random.integers(len(frames)))]
    return frame.format(action=f"{other} {action}".strip(), thing=thing)


def _other_nouns(text: str) -> str:
    """Replace nouns by synonyms, once each, outside of quoted code."""
    parts = _CODE.split(text)
    for number in range(0, len(parts), 2):
        parts[number] = _NOUN_PATTERN.sub(lambda match: _NOUNS[match[0].lower()], parts[number])
    return "".join(parts)


_NOUN_PATTERN = re.compile(
    r"\b(" + "|".join(re.escape(noun) for noun in sorted(_NOUNS, key=len, reverse=True)) + r")\b",
    re.IGNORECASE,
)
