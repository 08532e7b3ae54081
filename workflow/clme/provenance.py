"""What made a result: versions, source, hardware."""

import ast
import functools
import hashlib
import importlib.util
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import clme

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "sacrebleu",
    "rouge-score",
    "nltk",
    "numpy",
    "pandas",
    "pyarrow",
)


def source_hash(*modules: str) -> str:
    """Return a hash of the source of `modules` and of all of this package that they import.

    Two results with one hash were made by the same code, wherever the rest of the package stands.

    Args:
        modules: names such as ``clme.editors.grace``; modules of other packages are hashed, not followed.

    Raises:
        ModuleNotFoundError: a named module does not exist.
    """
    found: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        source = _source_file(name)
        if source is None:
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)
        found[name] = source.read_bytes()
        waiting += [imported for imported in _imports(source) if imported not in found]
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + hashlib.sha256(found[name]).digest())
    return digest.hexdigest()[:16]


@functools.cache
def _source_file(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _imports(source: Path) -> Iterable[str]:
    """Yield the modules of this package that a file imports, at whatever depth."""
    for node in ast.walk(ast.parse(source.read_bytes())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [node.module, *members]
        for name in names:
            if name.split(".")[0] == clme.__name__ and _source_file(name) is not None:
                yield name


def processor() -> str:
    """Return the processor's model, as the operating system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the installed libraries that results depend on."""
    found = {"python": platform.python_version(), "clme": clme.__version__}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found
