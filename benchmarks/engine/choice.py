"""The options that say what is run, which the benchmark's programs have in common."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from inputs import FOLD, ROOT, Inputs, needed, of_study, of_tests, read_study

from clme.editors import registry


@dataclass(frozen=True)
class Choice:
    """What is run, as the options say it.

    Attributes:
        config: the study's configuration.
        model: one of its models; None for the first.
        datasets: names with commas between; None for all.
        editors: likewise.
        tiny: the family of a random model that is run instead of the study's.
    """

    config: Path
    model: str | None
    datasets: str | None
    editors: str | None
    tiny: str | None

    def inputs(self, folder: Path, count: int | None, *, all_folds: bool = False) -> Inputs:
        """Return the inputs: so many cases, or all, of the first fold or of each.

        Args:
            folder: where a random model goes, with what its editors need.
            count: cases of each fold; of a random model, which has as many as one likes, 200 for all.
            all_folds: whether cases of all folds are run.

        Raises:
            click.BadParameter: a name isn't among those that there are.
            UserError: a file is missing.
        """
        if self.tiny is not None:
            return of_tests(self.tiny, folder, self._editors(), 200 if count is None else count)
        return of_study(*self._of_study(all_folds), count)

    def needed(self, *, all_folds: bool = False) -> list[str]:
        """Return the files that are taken from the study's results."""
        return [] if self.tiny is not None else needed(*self._of_study(all_folds))

    def _editors(self) -> list[str]:
        return _named(self.editors, registry.names(), "--editors")

    def _of_study(self, all_folds: bool) -> tuple[Any, ...]:
        study = read_study(self.config)
        model = self.model or next(iter(study.models))
        datasets = _named(self.datasets, list(study.datasets), "--datasets")
        folds = range(study.folds) if all_folds else (FOLD,)
        return study, model, datasets, self._editors(), folds


def _named(text: str | None, allowed: Sequence[str], option: str) -> list[str]:
    chosen = list(allowed) if text is None else text.split(",")
    unknown = [name for name in chosen if name not in allowed]
    if unknown:
        raise click.BadParameter(f"{unknown[0]}: not among {', '.join(allowed)}", param_hint=option)
    return chosen


_OPTIONS = {
    "config": click.option(
        "--config", type=click.Path(path_type=Path, exists=True), default=ROOT / "config.yaml"
    ),
    "model": click.option("--model", help="One of the study's models; the first by default."),
    "datasets": click.option("--datasets", help="Names with commas between; all by default."),
    "editors": click.option("--editors", help="Names with commas between; all by default."),
    "tiny": click.option(
        "--tiny", metavar="FAMILY", help="A random model of the tests: llama, qwen2 or stablelm."
    ),
}


def chosen(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it gets them as its first argument, a `Choice`."""

    @functools.wraps(command)
    def with_choice(**options: Any) -> None:
        command(Choice(**{name: options.pop(name) for name in _OPTIONS}), **options)

    for option in reversed(_OPTIONS.values()):
        option(with_choice)
    return with_choice
