"""The part of a card that is copied into a terminal: it runs where the shards are."""

import shlex
from collections.abc import Iterator

from kdcache.report.card_facts import CardFacts
from kdcache.report.markdown import fenced
from kdcache.report.shard_pattern import shard_pattern
from kdcache.store.layout import SAMPLES, VIEWS

__all__ = ["card_usage"]

_PIN_DIGITS = 16


def card_usage(facts: CardFacts) -> str:
    """Return the section: commands, and a few lines of Python."""
    commands = "\n".join(_commands(facts))
    parts = ["## Use", _before(facts), fenced(commands, "bash"), _python(facts)]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


def _before(facts: CardFacts) -> str:
    version = facts.report.about.get("software", {}).get("kdcache", "")
    made_by = f", version {version} or later," if str(version).replace(".", "").isalnum() else ""
    return (
        f"With kdcache{made_by} installed, in a folder with the shards that the cache was made of (training checks "
        "that they are the same):"
    )


def _commands(facts: CardFacts) -> Iterator[str]:
    if facts.url:
        yield shlex.join(["kdcache", "pull", facts.url, facts.folder])
    pinned = _pinned(facts)
    yield shlex.join(["kdcache", "verify", pinned])
    teachers = list(facts.report.teachers)
    if teachers:
        shards = shard_pattern([entry.name for entry in facts.identity.shards]) or "*.tar"
        which = ["--teacher", teachers[0]] if len(teachers) > 1 else []
        yield shlex.join(["kdcache", "train", shards, "--cache", pinned, *which, "--student", "resnet18"]) + (
            f" \\\n    --epochs {facts.identity.num_aug_seeds} --out run"
        )


def _python(facts: CardFacts) -> str:
    found = _first_targets(facts)
    if found is None:
        return ""
    teacher, block, seed = found
    code = (
        "from kdcache import open_cache\n\n"
        f'cache = open_cache("{_pinned(facts)}")\n'
        f"samples = cache.samples(block={block})\n"
        f'targets = cache.targets("{teacher}", block={block}, aug_seed={seed})\n'
        "print(samples.keys[0], samples.labels[0], targets.logits_NK[0])"
    )
    return "The same from Python; row i of both is one sample:\n\n" + fenced(code, "python")


def _first_targets(facts: CardFacts) -> tuple[str, int, int] | None:
    """Return teacher, block and seed of the first targets that are there."""
    for record in facts.records:
        kind, _, place = record.unit.rpartition("/")
        if kind in facts.report.teachers and kind not in {SAMPLES, VIEWS}:
            block, _, group = place.partition("-")
            return kind, int(block), int(group) * facts.identity.seeds_per_group
    return None


def _pinned(facts: CardFacts) -> str:
    digest = facts.report.content_id.removeprefix("sha256:")[:_PIN_DIGITS]
    return f"{facts.folder}@sha256:{digest}"
