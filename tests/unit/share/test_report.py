"""What is said of a copy."""

from dataclasses import replace

from kdcache.share.report import TransferReport

REPORT = TransferReport(
    source="c.zarr",
    destination="s3://b/c.zarr",
    content_id="sha256:11",
    parent=None,
    selection={},
    objects=1200,
    num_bytes=34567,
    present=0,
    present_bytes=0,
    read_back=0,
    reads=1000,
    writes=1200,
    seconds=2.5,
    dry_run=False,
    notes=(),
)


def test_a_copy_is_two_lines() -> None:
    assert REPORT.summary().splitlines() == [
        "c.zarr to s3://b/c.zarr: 1,200 objects, 34,567 bytes copied (2,200 requests, 2.5 s)",
        "content id sha256:11",
    ]


def test_a_dry_run_says_what_was_there_and_what_it_would_read_back() -> None:
    text = replace(REPORT, dry_run=True, present=5, present_bytes=900, read_back=2).summary()
    assert "34,567 bytes to copy (2,200 requests); 5 objects, 900 bytes there already" in text
    assert "2 to be read back" in text


def test_a_part_names_its_parent() -> None:
    part = replace(REPORT, parent="sha256:77", selection={"seeds": "0-1"}, notes=("widened",))
    assert part.summary().splitlines()[0] == "widened"
    assert part.summary().splitlines()[-1] == "a part (seeds 0-1) of sha256:77"
