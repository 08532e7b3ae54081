"""`clme plan`: how long a study takes on accelerators."""

from dataclasses import replace
from pathlib import Path

import click

from clme.commands.options import FILE, FOLDER

PRESETS = Path(__file__).parents[2] / "presets"
PUBLISHED = Path(__file__).parents[3] / "paper/published/table3.csv"


@click.command()
@click.option("--preset", metavar="NAME", help="A study of workflow/presets/.")
@click.option("--config", type=FILE, help="Or the file of a study.  [default: config.yaml]")
@click.option("--results", type=FOLDER, default="results", show_default=True, help="Where models may be.")
@click.option("--published", type=FILE, default=PUBLISHED, help="The paper's Table III.  [default: its CSV]")
@click.option("--teraflops", type=float, help="The device's speed.  [default: an A100's]")
@click.option("--bandwidth", type=float, help="Of its memory, in GB/s.  [default: an A100's]")
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True), help="Part of the speed that is reached."
)
@click.option("--missed", type=click.FloatRange(0, 1), default=0.5, show_default=True)
def plan(
    preset: str | None,
    config: Path | None,
    results: Path,
    published: Path,
    teraflops: float | None,
    bandwidth: float | None,
    share: float | None,
    missed: float,
) -> None:
    """Predict the GPU-hours of a study, and say what the prediction assumes.

    Operations are counted from the shapes of models, texts and editors (`clme.study.costs`); the device is
    an A100 unless said. --missed is the part of expected tokens that edits don't say.
    """
    import yaml

    from clme.errors import UserError
    from clme.study import config as study_config
    from clme.study.forecast import A100, Forecast, table

    path = PRESETS / f"{preset}.yaml" if preset else config or Path("config.yaml")
    if not path.exists():
        there = ", ".join(sorted(one.stem for one in PRESETS.glob("*.yaml")))
        raise UserError(f"{path}: no such study; there are {there}")
    study = study_config.load(yaml.safe_load(path.read_text(encoding="utf-8")))
    device = A100
    if teraflops or bandwidth:
        speed = {name: teraflops * 1e12 if teraflops else one for name, one in A100.speed.items()}
        device = replace(A100, name="the device", speed=speed)
        device = replace(device, bandwidth=bandwidth * 1e9 if bandwidth else A100.bandwidth)
    device = replace(device, share=share or A100.share)
    click.echo(table(Forecast(study, published, results, device, missed)))
