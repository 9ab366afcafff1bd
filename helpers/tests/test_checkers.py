"""What every checker of chapter 3 must do, with the right and wrong answers that its file lists."""

import re

import pytest

from helpers.tests import test_checks_multi_head_attention as multi_head_attention

CHAPTERS = (multi_head_attention,)
EXERCISES = [pytest.param(chapter, name, id=name) for chapter in CHAPTERS for name in chapter.EXERCISES]


def each(answers_of):
    """One case for each chapter, exercise and answer: `answers_of(chapter, name)` lists the answers."""
    return [
        pytest.param(chapter, name, answer, id=f"{name}-{number}")
        for chapter in CHAPTERS
        for name in chapter.EXERCISES
        for number, answer in enumerate(answers_of(chapter, name))
    ]


@pytest.mark.parametrize(("chapter", "name", "answer"), each(lambda chapter, name: chapter.RIGHT[name]))
def test_a_right_answer_is_accepted_by_any_route(chapter, name, answer, capsys):
    assert chapter.check(name)(answer) is True
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(("chapter", "name"), EXERCISES)
def test_the_stub_is_not_written_yet(chapter, name, capsys):
    def stub(*arguments):
        raise NotImplementedError

    assert chapter.check(name)(stub) is None
    assert chapter.check(name)(lambda *arguments: ...) is None
    assert capsys.readouterr().out.startswith("not written yet: ")


@pytest.mark.parametrize(("chapter", "name", "answer"), each(lambda chapter, name: chapter.WRONG[name]))
def test_a_wrong_answer_is_rejected_and_the_failing_input_shown(chapter, name, answer, capsys):
    assert chapter.check(name)(answer) is False
    printed = capsys.readouterr().out
    assert printed.startswith("✗ ") and "input:" in printed and "expected:" in printed
    assert not re.search(r"object at 0x|<function", printed)


@pytest.mark.parametrize(("chapter", "name", "known"), each(lambda chapter, name: chapter.EXERCISES[name].mistakes))
def test_a_known_mistake_gets_its_own_hint(chapter, name, known, capsys):
    mistake, hint = chapter.EXERCISES[name].function_of(known[0]), known[1]
    assert chapter.check(name)(mistake) is False
    assert " ".join(f"hint: {hint}".split()) in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("chapter", "name"), EXERCISES)
def test_every_exercise_meets_five_wrong_answers(chapter, name):
    assert len(chapter.EXERCISES[name].mistakes) + len(chapter.WRONG[name]) >= 5
    assert len(chapter.RIGHT[name]) >= 2
