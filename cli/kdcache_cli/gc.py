"""``kdcache gc``: list and remove what killed runs left behind."""

import click

__all__ = ["command"]

EPILOG = """\b
Examples:
  kdcache gc cache.zarr                        list them
  kdcache gc s3://bucket/cache.zarr --delete   remove them

Committed units are never touched, and neither is any file that is not of this format.
"""


@click.command("gc", epilog=EPILOG)
@click.argument("cache")
@click.option("--delete", is_flag=True, help="Remove what is listed.")
@click.option(
    "--older-than",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="MINUTES",
    help="Leave younger ones alone: a run may be writing them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def command(cache: str, delete: bool, older_than: float, as_json: bool) -> None:
    """List temporary files of killed runs, and objects that no commit record names, in the cache at CACHE.

    They do no harm and no reader looks at them; a run that goes on uses an object without a record if it is
    whole.
    """
    import json

    from kdcache.store.garbage import find_garbage

    garbage = find_garbage(cache, min_age=60.0 * older_than)
    removed = garbage.remove() if delete else 0
    found = [("temporary", entry) for entry in garbage.temporary]
    found += [("not committed", entry) for entry in garbage.orphans]
    if as_json:
        facts = [{"kind": kind, "path": entry.path, "bytes": entry.size} for kind, entry in found]
        click.echo(json.dumps({"objects": facts, "removed": removed, "young": garbage.young}, indent=2))
        return
    for kind, entry in found:
        click.echo(f"{kind}\t{entry.size}\t{entry.path}")
    done = (
        f"{removed:,} removed"
        if delete
        else "none removed (--delete removes them)"
        if found
        else "nothing to remove"
    )
    young = f"; {garbage.young:,} younger than {older_than:g} minutes left alone" if garbage.young else ""
    click.echo(f"{len(found):,} objects, {garbage.num_bytes:,} bytes: {done}{young}")
