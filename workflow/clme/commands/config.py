"""`clme schema`: the configuration's JSON schema."""

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON schema of the configuration, for editors' completion."""
    from clme.study.config import StudyConfig

    click.echo(json.dumps(StudyConfig.model_json_schema(), indent=2))
