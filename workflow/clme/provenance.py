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

    Two results with one hash were made by the same code, wherever the rest of the package stands. Nothing is
    imported for it.

    Args:
        modules: names such as ``clme.editors.grace``, or ``clme.commands.study:edit`` for a function with
            what it uses of its module; modules of other packages are hashed, not followed.

    Raises:
        ModuleNotFoundError: a named module does not exist.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name], imported = _scanned(name)
        waiting += [one for one in imported if one not in found]
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + bytes.fromhex(found[name]))
    return digest.hexdigest()[:16]


def _scanned(name: str) -> tuple[str, frozenset[str]]:
    """Return the SHA-256 of a module's or function's source, and which modules of this package it imports."""
    module, _, function = name.partition(":")
    source = _source_file(module)
    if source is None:
        raise ModuleNotFoundError(f"no module named {module!r}", name=module)
    state = source.stat()
    return _scan(source, function, (state.st_mtime_ns, state.st_size))


@functools.cache
def _scan(source: Path, function: str, state: tuple[int, int]) -> tuple[str, frozenset[str]]:
    del state  # of the file: what is known of it holds for as long as it isn't changed
    content = source.read_bytes()
    tree = ast.parse(content)
    if function:
        tree = _used_by(function, tree)
        content = ast.unparse(tree).encode()
    return hashlib.sha256(content).hexdigest(), frozenset(_imports(tree))


def _used_by(function: str, module: ast.Module) -> ast.Module:
    """Leave what a function uses of its module, directly or not."""
    defined: dict[str, ast.stmt] = {}
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            defined[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            defined |= {one.id: statement for one in targets if isinstance(one, ast.Name)}
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            defined |= {(alias.asname or alias.name).split(".")[0]: statement for alias in statement.names}
    used: set[str] = set()
    waiting = {function}
    while waiting:
        name = waiting.pop()
        used.add(name)
        inside = {node.id for node in ast.walk(defined[name]) if isinstance(node, ast.Name)}
        waiting |= (inside & defined.keys()) - used
    kept = {id(defined[name]) for name in used}
    return ast.Module([statement for statement in module.body if id(statement) in kept], [])


@functools.cache
def _source_file(name: str) -> Path | None:
    package, *parts = name.split(".")
    if package != clme.__name__:
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            return None
        return Path(spec.origin) if spec is not None and spec.origin is not None else None
    # Looked up by its path: to find a member of a module, Python would import the module.
    path = Path(str(clme.__file__)).parent.joinpath(*parts)
    candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
    return next((one for one in candidates if one.is_file()), None)


def _imports(tree: ast.AST) -> Iterable[str]:
    """Yield the modules of this package that are imported, at whatever depth."""
    for node in ast.walk(tree):
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
