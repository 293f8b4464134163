"""Each class has its own accuracy; the worst come first."""

import torch

from kdcache.train.per_class import ClassCounts, ClassFigures, to_csv, worst

CPU = torch.device("cpu")
LOGITS_NC = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
LABELS_N = torch.tensor([0, 0, -1, 1])


def _figures() -> tuple[ClassFigures, ...]:
    counts = ClassCounts(3, CPU)
    counts.add(LOGITS_NC[:2], LABELS_N[:2])
    counts.add(LOGITS_NC[2:], LABELS_N[2:])
    return counts.figures()


def test_each_class_counts_its_own_samples() -> None:
    sure = float(torch.softmax(LOGITS_NC[0], dim=0)[0])
    assert _figures() == (
        ClassFigures(0, 2, 0.5, round(sure, 6)),
        ClassFigures(1, 1, 0.0, 0.333333),
        ClassFigures(2, 0, None, None),
    )


def test_the_worst_classes_come_first_and_empty_ones_never() -> None:
    empty = ClassFigures(2, 0, None, None)
    rows = (ClassFigures(0, 2, 0.5, 0.9), ClassFigures(1, 1, 0.0, 0.3), empty, ClassFigures(3, 4, 0.0, 0.8))
    assert [row.label for row in worst(rows, 10)] == [3, 1, 0]
    assert [row.label for row in worst(rows, 1)] == [3]


def test_the_table_is_csv() -> None:
    rows = (ClassFigures(0, 2, 0.5, 0.9), ClassFigures(1, 0, None, None))
    assert to_csv(rows) == "label,samples,top1,confidence\n0,2,0.5,0.9\n1,0,,\n"
