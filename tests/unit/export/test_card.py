"""The card says what the run recorded: cache, teachers, views, recipe, figures."""

from dataclasses import replace
from typing import Any

import pytest

from kdcache.export.card import model_card
from kdcache.export.subject import Subject


def _changed(subject: Subject, **settings: Any) -> Subject:
    config = subject.run.config.model_copy(update=settings)
    return replace(subject, run=replace(subject.run, config=config))


def test_the_origin_is_named(subject: Subject) -> None:
    card = model_card(subject, name="deit-small-run")
    assert card.startswith("---\nlibrary_name: timm\n")
    assert "# deit-small-run\n" in card
    assert "with 10 classes, distilled from formula by kdcache" in card
    assert f"| cache | `{subject.run.report['cache_id']}` |" in card
    assert "| views | 4 of each sample, 24 x 24 |" in card
    assert "| teacher formula | testnet, weights `" in card
    assert '"crop": "random-resized"' in card


def test_the_recipe_has_the_usual_settings_and_those_that_were_changed(subject: Subject) -> None:
    card = model_card(_changed(subject, clip_grad=1.0, initial_checkpoint="/home/me/start.pth"), name="a")
    for row in ("distill_loss | hard", "opt | adamw", "lr | 0.001", "clip_grad | 1.0"):
        assert f"| {row} |" in card
    assert "| initial_checkpoint | start.pth |" in card
    assert "grad_accum_steps" not in card


def test_figures_are_those_of_the_last_evaluation(subject: Subject) -> None:
    card = model_card(subject, name="a")
    evaluation = subject.run.report["evaluation"]
    assert f"| top-1 | {evaluation['top1']:.4f} |" in card
    assert f"| agreement with the cached teacher | {evaluation['agreement']:.4f} |" in card
    assert "on `train-000.tar`, `train-001.tar`:" in card


def test_weights_that_were_never_evaluated_have_no_figures(subject: Subject) -> None:
    ema = replace(subject, run=replace(subject.run, weights="ema"))
    assert "evaluated no such weights" in model_card(ema, name="a")


def test_other_weights_have_their_own_figures(subject: Subject) -> None:
    report = dict(subject.run.report) | {"evaluation_ema": {"samples": 48, "top1": 0.9876}}
    ema = replace(subject, run=replace(subject.run, weights="ema", report=report))
    assert "| top-1 | 0.9876 |" in model_card(ema, name="a")


def test_labels_only_names_no_teacher(subject: Subject) -> None:
    run = _changed(subject, distill_loss_weight=0.0).run
    report = dict(run.report) | {"provenance": dict(run.provenance) | {"teachers": {}}}
    card = model_card(replace(subject, run=replace(run, report=report)), name="a")
    assert "trained on labels by kdcache" in card
    assert "| temperature |" not in card


def test_a_run_that_is_not_over_has_nothing_recorded(subject: Subject) -> None:
    card = model_card(replace(subject, run=replace(subject.run, report={})), name="a")
    assert "nothing is recorded yet" in card


@pytest.mark.parametrize("secret", ["/tmp", "/home"])  # noqa: S108
def test_the_card_has_no_path_of_this_machine(subject: Subject, secret: str) -> None:
    assert secret not in model_card(subject, name="a")
