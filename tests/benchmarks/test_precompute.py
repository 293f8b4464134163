from tests.benchmarks import precompute


def test_the_benchmark_of_stage_one_still_runs() -> None:
    ratio, memory = precompute.rows(model="test_resnet", size=32, seconds=0.4, repeats=1)
    assert ratio.median > 0.0
    assert memory.median > 100
