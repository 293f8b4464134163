"""Values of flags: ``key=value``, and numbers with commas between them."""

from typing import Any

import click

__all__ = ["COMMA_LIST", "KEY_VALUE"]


class KeyValue(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """``key=value``, the value read as YAML reads it (numbers, true, lists, words)."""

    name = "k=v"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Split at the first equals sign."""
        import yaml

        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not key=value, as in img_size=28", param, ctx)
        return key, yaml.safe_load(text)


class CommaList(click.ParamType):  # type: ignore[type-arg]  # generic only since click 8.4
    """Numbers with commas between them."""

    name = "a,b"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Split at the commas."""
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} are no numbers with commas between them, as in 1,2", param, ctx)


COMMA_LIST = CommaList()
KEY_VALUE = KeyValue()
