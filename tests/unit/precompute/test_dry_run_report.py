"""What a dry run says to people."""

from dataclasses import replace
from typing import Any

from kdcache.precompute.dry_run_report import Bytes, DryRun, Pilot, TeacherForecast, Time
from kdcache.precompute.forecast import Rates


def _found(*, overlaps: bool = True) -> DryRun:
    rates = Rates(1000.0, {"cnn": 4000.0}, readers=16, workers=2, devices=2, overlaps=overlaps)
    return DryRun(
        cache="c.zarr",
        units_pending=1500,
        units_done=500,
        shards=1000,
        samples=1_280_000,
        blocks=1000,
        rows_per_block=1280,
        samples_pending=960_000,
        views_pending=48_000_000,
        aug_seeds=50,
        seeds_per_group=25,
        teachers={
            "cnn": TeacherForecast("gap8", 50, 1000, 1500, 500, 48_000_000, 4_800_000_000, 4000.0),
            "mean": TeacherForecast("hard", 1, 1000, 0, 2000, 0, 0, None),
        },
        bytes=Bytes(
            samples=20_000_000,
            views=200_000_000,
            targets=4_800_000_000,
            committed=1_000_000_000,
            metadata=5_432_100,
        ),
        pilot=Pilot(samples=256, views=256, bad_views=2),
        time=Time(
            device="NVIDIA H200",
            rates=rates,
            pending=rates.seconds({"cnn": 48_000_000}, rendered=48_000_000),
            whole=rates.seconds({"cnn": 64_000_000}, rendered=64_000_000),
            live_epoch=rates.teaching({"cnn": 1_280_000}),
        ),
    )


WANTED = """\
c.zarr, a dry run: nothing was written
  units           1,500 to do, 500 done
  samples         1,280,000 in 1,000 shards, 960,000 to do
  blocks          1,000 of up to 1,280 samples
  views           48,000,000 to render (50 of each sample, in groups of 25)
  pilot           256 views of 256 samples, 2 of bad samples

Teacher cnn
  targets         gap8, 50 of 1,000 classes
  units           1,500 to do, 500 done
  size            4.80 GB, 100.0 bytes a view
  speed           4,000 views/s

Teacher mean
  targets         hard, 1 of 1,000 classes
  units           0 to do, 2,000 done

Size
  targets         4.80 GB
  views           200 MB (digests and thumbnails)
  samples         20.0 MB
  this run adds   5.02 GB
  the cache then  6.02 GB, and 5.43 MB of metadata

Time
  probe           a few batches on NVIDIA H200: the run itself may be faster or slower
  teachers        1.7 h
  rendering       25.0 min (32 readers, 1,000 views/s each)
  this run        1.7 h (the longer one of the two)

pays off after 50 student epochs (one teacher pass over the data takes 2.7 min; the cache takes 2.2 h and serves every \
later student for free)"""


def test_the_text_is_aligned_and_ends_with_one_plain_sentence() -> None:
    assert _found().summary() == WANTED


def test_on_a_cpu_both_parts_add_up() -> None:
    assert "this run        2.1 h (both, as they share the cores)" in _found(overlaps=False).summary()


def test_a_complete_cache_says_so() -> None:
    nothing: dict[str, Any] = {"units_pending": 0, "pilot": None, "time": None}
    assert replace(_found(), **nothing).summary().endswith("\n\nnothing is left to do")


def test_sums_are_among_the_facts() -> None:
    facts = _found().to_json()
    assert (facts["bytes"]["added"], facts["bytes"]["cache"]) == (5_020_000_000, 6_020_000_000)
    assert facts["time"]["break_even_epochs"] == 50.0
    assert facts["teachers"]["mean"]["views_per_second"] is None
