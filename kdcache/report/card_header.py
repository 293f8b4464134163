"""The YAML at the head of a card, which a hub reads."""

import re
from typing import Any, Final

import yaml

from kdcache.report.card_facts import CardFacts
from kdcache.report.hub_licence import hub_licence

__all__ = ["card_header", "size_category"]

_STEPS: Final = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
_LONGEST_NAME: Final = 64


def card_header(facts: CardFacts) -> str:
    """Return the front matter, fences included; whatever the texts are, they stay values of their fields."""
    fields: dict[str, Any] = {
        "pretty_name": facts.title(),
        **_licence(facts.about("licence")),
        "task_categories": ["image-classification"],
        "size_categories": [size_category(facts.report.samples)],
        "tags": ["kdcache", "knowledge-distillation", "logits", "zarr"],
        "viewer": False,
    }
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n"


def size_category(count: int) -> str:
    """Return the hub's class of a number of samples.

    >>> size_category(999), size_category(1000), size_category(1281167)
    ('n<1K', '1K<n<10K', '1M<n<10M')
    """
    index = max(0, len(str(count)) - 3)
    if index == 0:
        return f"n<{_STEPS[0]}"
    return f"n>{_STEPS[-1]}" if index >= len(_STEPS) else f"{_STEPS[index - 1]}<n<{_STEPS[index]}"


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {}
    name = hub_licence(licence)
    slug = re.sub(r"[^a-z0-9.]+", "-", licence.lower())[:_LONGEST_NAME].strip("-.")
    return {"license": name} | ({"license_name": slug} if name == "other" and slug else {})
