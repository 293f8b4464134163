"""What is public is documented, and the lazy names of the package are real."""

import ast
import re
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

import kdcache
from tests.support.source import ROOT, parsed


def _public(path: str, tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield each public class, function and method with its place."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield f"{path}:{node.name}", node
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{path}:{node.name}.{inner.name}", inner
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{path}:{node.name}", node


def test_every_public_name_has_a_docstring() -> None:
    bare = [
        place
        for path, tree in parsed()
        for place, node in _public(path, tree)
        if ast.get_docstring(node) is None  # type: ignore[arg-type]
    ]
    assert bare == []


def test_every_module_has_a_docstring() -> None:
    assert [path for path, tree in parsed() if ast.get_docstring(tree) is None] == []


def test_every_module_lists_what_it_exports() -> None:
    without = []
    for path, tree in parsed():
        names = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
                 if isinstance(target, ast.Name)}  # fmt: skip
        has_code = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
        if has_code and "__all__" not in names:
            without.append(path)
    assert without == []


def test_every_lazy_name_of_the_package_can_be_imported() -> None:
    assert [name for name in kdcache.__all__ if getattr(kdcache, name, None) is None] == []


def test_every_name_of_the_package_is_in_the_library_page() -> None:
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    in_backticks = set(re.findall(r"`(\w+)`", page))
    assert set(kdcache.__all__) - in_backticks == set()


def _fields(settings: type[BaseModel]) -> set[str]:
    """Return the fields of these settings and of the sections in them."""
    names = set(settings.model_fields)
    for field in settings.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel) and part is not kdcache.ViewPolicy:
                names |= _fields(part)
    return names


@pytest.mark.parametrize(
    ("name", "page"),
    [("ViewPolicy", "policies"), ("TrainConfig", "training"), ("PrecomputeConfig", "precompute")],
)
def test_every_setting_is_documented(name: str, page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    in_backticks = set(re.findall(r"`(\w+)[`:]", text))
    assert _fields(getattr(kdcache, name)) - in_backticks == set()


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    assert not hasattr(kdcache, "no_such_name")
