"""The command line `visor …`: one module a group of commands, heavy imports inside the commands that need them."""

from pipelines.cli.application import app, main

__all__ = ["app", "main"]
