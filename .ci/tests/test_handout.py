"""Handouts: the student's copy gives nothing away, the instructor's has every solution, both are valid notebooks."""

import chapters
import handout
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

WITH_SOLUTIONS = [path for path in chapters.chapters() if chapters.solutions_of(path)]


@pytest.mark.parametrize("chapter", chapters.chapters(), ids=lambda path: path.stem)
def test_both_copies_are_valid_without_outputs_and_with_links_that_lead_somewhere(chapter):
    for copy in handout.handouts(chapter):
        nbformat.validate(copy)
        assert len({cell.id for cell in copy.cells}) == len(copy.cells)
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in copy.cells)
        assert "](solutions/" not in "".join(cell.source for cell in copy.cells)


@pytest.mark.parametrize("chapter", WITH_SOLUTIONS, ids=lambda path: path.stem)
def test_the_student_gets_no_solution_and_the_instructor_each_one_before_its_check(chapter):
    student, instructor = handout.handouts(chapter)
    _, solved = handout.solutions(chapters.read(chapters.solutions_of(chapter)))
    assert len(solved) >= 4
    for cell in (cell for cells in solved.values() for cell in cells if cell.cell_type == "code"):
        assert cell.source not in [c.source for c in student.cells]
        place = [c.source for c in instructor.cells].index(cell.source)
        assert "solution" in instructor.cells[place].metadata.tags
    for number, (place, checker) in handout.exercises(instructor).items():
        own = {c.source for c in solved[number] if c.cell_type == "code"}
        before = [c.source for c in instructor.cells[:place]]
        assert own <= set(before), f"exercise {number}: {checker} runs before its solution"
    whole = chapters.read(chapters.solutions_of(chapter)).cells
    needed = [c.source for c in whole if c.cell_type == "code" and "setup" not in chapters.tags(c)]
    copied = [c.source for c in instructor.cells if "solution" in chapters.tags(c)]
    assert [source for source in copied if source in needed] == needed  # nothing lost, and in the order it was written
    assert not any("solution" in chapters.tags(cell) for cell in student.cells)
    for number, (place, _) in handout.exercises(student).items():
        stub = student.cells[place - 1].source  # a function to write, or the name of a file to set
        assert "raise NotImplementedError" in stub or stub == "my_file = None", f"exercise {number}: {stub}"


def a_chapter(checker="check_double", heading="### Exercise 1 · double"):
    stub = new_code_cell("def double(x):\n    raise NotImplementedError")
    check = new_code_cell(f"{checker}(double)", metadata={"tags": ["check"]})
    return new_notebook(cells=[new_markdown_cell(heading), stub, check])


def a_solution(number=1, checker="check_double"):
    solved = new_code_cell(f"def double(x):\n    return 2 * x\n\n\nchecks.{checker}(double)")
    start = [new_markdown_cell("# Solutions"), new_code_cell("from helpers import checks")]
    return new_notebook(cells=[*start, new_markdown_cell(f"## Exercise {number}: double"), solved])


def test_the_solution_and_its_imports_stand_between_the_stub_and_the_check():
    whole = handout.with_solutions(a_chapter(), a_solution())
    kinds = [cell.source.splitlines()[0] for cell in whole.cells]
    assert kinds == [
        "from helpers import checks",
        "### Exercise 1 · double",
        "def double(x):",
        "#### Solution 1: double",
        "def double(x):",
        "check_double(double)",
    ]


@pytest.mark.parametrize(
    ("chapter", "solution", "message"),
    [
        (a_chapter(), a_solution(number=2), r"exercises \[1\] in the chapter, \[2\] in the solutions"),
        (a_chapter("check_half"), a_solution(), "the chapter calls check_half, the solution check_double"),
    ],
)
def test_notebooks_that_do_not_fit_together_are_refused(chapter, solution, message):
    with pytest.raises(ValueError, match=message):
        handout.with_solutions(chapter, solution)


def test_an_exercise_without_a_check_is_refused():
    chapter = a_chapter()
    del chapter.cells[-1]
    with pytest.raises(ValueError, match=r"without a check cell: \[1\]"):
        handout.exercises(chapter)
