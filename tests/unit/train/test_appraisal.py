"""Which figure ranks states, and how the mean's figures stand beside the student's."""

import pytest

from kdcache.errors import ConfigError
from kdcache.train.appraisal import Appraisal
from kdcache.train.evaluate import EvalReport

STUDENT = EvalReport(samples=10, labelled=8, top1=0.5, top5=0.9, loss=1.0)
EMA = EvalReport(samples=10, labelled=8, top1=0.6, top5=0.8, loss=0.7)


def test_the_figures_of_the_mean_have_names_of_their_own() -> None:
    facts = Appraisal(STUDENT, EMA).facts()
    assert (facts["top1"], facts["ema_top1"], facts["loss"], facts["ema_loss"]) == (0.5, 0.6, 1.0, 0.7)
    assert "ema_samples" not in facts
    assert Appraisal(STUDENT).facts() == STUDENT.facts()
    assert "; mean weights: top-1 60.00%" in Appraisal(STUDENT, EMA).to_text()


def test_states_are_ranked_by_the_mean_where_there_is_one() -> None:
    assert Appraisal(STUDENT).figure("top1").value == 0.5
    assert Appraisal(STUDENT, EMA).figure("top1").value == 0.6
    assert Appraisal(STUDENT, EMA).figure("loss").lower_is_better
    assert not Appraisal(STUDENT, EMA).figure("top5").lower_is_better


def test_a_figure_without_a_value_is_refused() -> None:
    unlabelled = EvalReport(samples=3, labelled=0, top1=None, top5=None, loss=None, agreement=0.5)
    with pytest.raises(ConfigError, match=r"eval_metric 'top1' has no value: .*no labels.*agreement"):
        Appraisal(unlabelled).figure("top1")
    assert Appraisal(unlabelled).figure("agreement").value == 0.5
