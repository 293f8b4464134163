from tests.benchmarks import remote


def test_the_benchmark_of_object_stores_still_runs() -> None:
    ratio, requests = remote.rows(
        repeats=2, workers=1, shards=2, samples=8, size=32, batch_size=4, latency=0.001
    )
    assert ratio.median > 0.0
    # targets and digests of each of two blocks; the last pass reads ahead, too
    assert requests.median <= 2 * 2 * 1.5
