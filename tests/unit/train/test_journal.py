"""The journal appends, is cut back to a checkpoint, and sums up its evaluations."""

from pathlib import Path

from kdcache.train.journal import Journal, replace_file


def test_lines_are_read_back_by_kind(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("train", step=1, loss=0.1)
    journal.write("eval", step=1, top1=0.5)
    assert journal.read("train") == [{"kind": "train", "step": 1, "loss": 0.1}]


def test_cutting_back_drops_what_came_after_even_half_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write("train", step=1)
    size = journal.size
    journal.write("train", step=2)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    journal.cut_back(size)
    journal.write("train", step=2)
    assert [line["step"] for line in journal.read("train")] == [1, 2]


def test_an_empty_folder_has_an_empty_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.size == 0
    assert journal.read("eval") == []
    journal.summarise()
    assert not (tmp_path / "summary.csv").exists()


def test_the_summary_has_a_line_for_each_evaluation(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (10, 20):
        journal.write("eval", step=step, top1=step / 100)
        journal.summarise()
    assert (tmp_path / "summary.csv").read_text().split() == ["step,top1", "10,0.1", "20,0.2"]


def test_a_replaced_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", b"one")
    replace_file(tmp_path / "a", b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"two"
