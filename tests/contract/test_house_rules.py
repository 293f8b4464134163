"""Rules of the house that no linter knows: each was a sentence before it was a test."""

import ast
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.source import ROOT, modules, parsed

UNIT = ROOT / "tests" / "unit"


def _calls(name: str) -> Sequence[tuple[str, ast.Call]]:
    return _all_calls().get(name, [])


@functools.cache
def _all_calls() -> dict[str, list[tuple[str, ast.Call]]]:
    calls: dict[str, list[tuple[str, ast.Call]]] = {}
    for path, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                calls.setdefault(ast.unparse(node.func), []).append((f"{path}:{node.lineno}", node))
    return calls


def _imports() -> Iterator[tuple[str, str]]:
    for path, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield path, node.module or ""


def test_nothing_is_ever_unpickled() -> None:
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert [(path, name) for path, name in _imports() if name.split(".")[0] in forbidden] == []


def test_torch_loads_weights_only() -> None:
    for place, call in _calls("torch.load"):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert keywords.get("weights_only") == "True", place


def test_numpy_never_loads_objects() -> None:
    for function in ("np.load", "numpy.load"):
        for place, call in _calls(function):
            assert "allow_pickle=True" not in ast.unparse(call), place


def test_code_is_imported_by_name_in_five_places_only() -> None:
    named = {
        "kdcache/__init__.py": "public names",
        "cli/kdcache_cli/main.py": "commands",
        "kdcache/export/onnx_file.py": "an extra",
        "kdcache/train/mirrors.py": "an extra",
        "kdcache/teachers/custom.py": "a factory that the user's own command line names",
    }
    assert {place.rpartition(":")[0] for place, _ in _calls("importlib.import_module")} == set(named)


def test_no_text_is_run() -> None:
    forbidden = ("eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load")
    assert [place for function in forbidden for place, _ in _calls(function)] == []
    shells = [
        place
        for function in ("subprocess.run", "subprocess.Popen")
        for place, call in _calls(function)
        if "shell" in {keyword.arg for keyword in call.keywords}
    ]
    assert shells == []


def test_what_a_cache_holds_is_encoded_and_decoded_in_one_place() -> None:
    users = {path for path, name in _imports() if name.split(".")[0] in {"zarr", "numcodecs"}}
    assert users == {"kdcache/store/chunks.py"}
    readers = [
        place
        for name in ("zarr.open", "zarr.open_group", "zarr.open_array", "zarr.load")
        for place, _ in _calls(name)
    ]
    assert readers == []


def test_no_global_random_generator_is_seeded_or_read() -> None:
    forbidden = re.compile(r"^(random\.(?!Random)|np\.random\.(?!Philox)|numpy\.random\.(?!Philox))")
    views_and_data = ("kdcache/views/", "kdcache/data/", "kdcache/keys.py", "kdcache/precompute/")
    found = [
        place
        for name, calls in _all_calls().items()
        if forbidden.match(name)
        for place, _ in calls
        if place.startswith(views_and_data)
    ]
    assert found == []


def test_no_file_is_longer_than_300_lines() -> None:
    long = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in modules()}
    assert {path: lines for path, lines in long.items() if lines > 300} == {}


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    assert [path for path in modules() if path.stem in {"utils", "util", "misc", "helpers", "common"}] == []


def _mirrored(test_file: Path) -> Path:
    area = test_file.parent.relative_to(UNIT)
    house = ROOT / "cli" / "kdcache_cli" if area.parts[:1] == ("cli",) else ROOT / "kdcache" / area
    return house / f"{test_file.stem.removeprefix('test_')}.py"


def test_every_unit_test_mirrors_a_module() -> None:
    tests = sorted(UNIT.rglob("test_*.py"))
    assert [str(test.relative_to(ROOT)) for test in tests if not _mirrored(test).is_file()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_constraints_are_exact_and_name_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.]*", line)] == []


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    dead = [
        (str(page.relative_to(ROOT)), target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []


def test_pages_that_the_code_sends_people_to_exist() -> None:
    files = [*modules(), *(ROOT / "tests").rglob("*.py")]
    named = {
        page for path in files for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert sorted(page for page in named if not (ROOT / page).is_file()) == []
