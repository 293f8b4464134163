"""Keys that two caches have in different shards."""

from pathlib import Path

from kdcache.recast.repeated_keys import repeated_keys
from kdcache.recast.source import Source
from kdcache.store.layout import SAMPLES
from kdcache.store.manifest import Identity, Manifest
from tests.support.stores import make_manifest, make_store


def _source(path: Path, names: list[str]) -> Source:
    manifest = make_manifest(num_samples=[9] * len(names))
    shards = [
        entry.model_dump() | {"name": name}
        for entry, name in zip(manifest.identity.shards, names, strict=True)
    ]
    identity = Identity.parse(manifest.identity.model_dump() | {"shards": shards}, where="test")
    return Source.open(make_store(path, Manifest(identity=identity, about=manifest.about)))


def _found(*sources: Source) -> list[str]:
    chosen = {place: (source, unit) for source in reversed(sources) for place, unit in source.places.items()}
    assert any(place.kind == SAMPLES for place in chosen)
    return list(repeated_keys(sources, chosen))


def test_shards_of_one_cache_may_share_keys(tmp_path: Path) -> None:
    # The store's keys count from 0 in each position: position 0 of both caches has the same.
    both = _source(tmp_path / "a", ["x.tar", "y.tar"])
    assert _found(both, _source(tmp_path / "b", ["x.tar"])) == []


def test_a_few_keys_are_named_where_all_repeat(tmp_path: Path) -> None:
    found = _found(_source(tmp_path / "a", ["x.tar"]), _source(tmp_path / "b", ["y.tar"]))
    assert len(found) == 4
    assert all("is in shard 'x" in text or "is in shard 'y" in text for text in found)


def test_a_pair_that_one_cache_holds_hides_no_other_pair(tmp_path: Path) -> None:
    one = _source(tmp_path / "a", ["x.tar"])
    other = _source(tmp_path / "b", ["y.tar"])
    third = _source(tmp_path / "c", ["x.tar", "z.tar"])
    assert {("'y.tar'" in text) for text in _found(one, other, third)} == {True}


def test_nothing_repeats_where_there_are_no_samples(tmp_path: Path) -> None:
    assert list(repeated_keys([_source(tmp_path / "a", ["x.tar"])], {})) == []
