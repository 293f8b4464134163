"""The benchmark of what a cut costs still runs."""

import numpy as np

from tests.benchmarks.cut_cost import Case, angles, tail_errors
from tests.unit.losses.dense_reference import CASES


def test_the_benchmark_of_what_a_cut_costs_still_runs() -> None:
    rng = np.random.default_rng(0)
    teacher_BC, student_BC = (rng.standard_normal((4, 40)).astype(np.float32) * 3 for _ in range(2))
    case = Case.of(teacher_BC, student_BC)
    assert [line.split(" | ")[0] for line in tail_errors(case, (5,))][:2] == ["| 1", "| 1.3"]
    lines = list(angles(case, (5, 40)))
    assert len(lines) == len(CASES)
    hard = next(line for line in lines if "`hard`" in line)
    assert "90" not in hard
