from tests.benchmarks import views


def test_the_benchmark_of_views_still_runs() -> None:
    rows = views.rows(repeats=2, images=1)
    assert [row.what for row in rows] == list(views.GOALS)
    assert all(row.median > 0.0 for row in rows)


def test_the_benchmarks_pictures_weigh_what_imagenets_do() -> None:
    assert 90_000 < len(views.photographs(1)[0]) < 130_000
