"""`pykaldi-server doctor`."""

import sys

import click

from pykaldi_server.cli.common import demo_models

__all__ = ["doctor"]


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
def doctor(models: tuple[str, ...]) -> None:
    """Report what is installed, whether it works together, and whether each MODEL can be loaded."""
    from pykaldi_server.doctor import examine

    all_ok = True
    for finding in examine(models or demo_models()):
        click.echo(f"{'ok   ' if finding.ok else 'ERROR'} {finding.what:<18} {finding.text}")
        all_ok = all_ok and finding.ok
    sys.exit(0 if all_ok else 1)
