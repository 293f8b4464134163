"""The ``kdcache`` command: it finds a subcommand by name and imports nothing else."""

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import click

from kdcache.errors import KdcacheError
from kdcache_cli.errors import INTERRUPTED, exit_code, report

__all__ = ["COMMANDS", "LazyGroup", "kdcache", "main"]

SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

COMMANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "precompute": ("kdcache_cli.precompute", "Run the teachers once over every view."),
        "extend": ("kdcache_cli.extend", "Add views, teachers or shards to a cache, in place."),
        "launch": ("kdcache_cli.launch", "Write or submit the job that runs precompute on a cluster."),
        "train": ("kdcache_cli.train", "Train a student from cached targets, without a teacher."),
        "eval": ("kdcache_cli.eval", "Evaluate a student on any shards, with or without its teacher."),
        "export": ("kdcache_cli.export", "Write a student for timm, ONNX or the hub, checked."),
        "info": ("kdcache_cli.info", "Say what a cache holds and where it came from."),
        "verify": ("kdcache_cli.verify", "Check a cache: every object, and its views and targets."),
        "views": ("kdcache_cli.views", "Draw samples under several seeds, with the teacher's guesses."),
        "card": ("kdcache_cli.card", "Write a page and metadata that say what a cache is."),
        "push": ("kdcache_cli.push", "Publish a cache: copy it, checked, the manifest last."),
        "pull": ("kdcache_cli.pull", "Fetch a cache, or some of its seeds, teachers or shards."),
        "merge": ("kdcache_cli.merge", "Put caches of other shards, seeds or teachers into one."),
        "prune": ("kdcache_cli.prune", "Write a smaller cache: fewer seeds, teachers or classes."),
        "diff": ("kdcache_cli.diff", "Say what two caches differ in."),
        "repair": ("kdcache_cli.repair", "Compute again what verify finds broken, and nothing else."),
        "gc": ("kdcache_cli.gc", "List and remove what killed runs left behind."),
        "demo": ("kdcache_cli.demo", "Run both stages on a small built-in data set."),
    }
)


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is called, so that ``--help`` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import ``cmd_name`` and return its ``command``; None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that ``args`` begins with; a near miss is answered with the nearest name.

        Raises:
            click.UsageError: there is no such command.
        """
        near = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and near:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing one of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; what kdcache refuses becomes one paragraph and an exit code."""
        try:
            return super().invoke(ctx)
        except KdcacheError as error:
            report(error, debug=ctx.params.get("debug", False))
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again to continue", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=LazyGroup, context_settings=SETTINGS)
@click.version_option(package_name="kdcache")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def kdcache(debug: bool) -> None:
    """Run the teacher once; train any number of students from its cached logits."""
    del debug  # LazyGroup.invoke reads it from the context


def main() -> None:
    """Run the ``kdcache`` command."""
    kdcache(prog_name="kdcache")


if __name__ == "__main__":
    main()
