"""Write what a class gets: build/handout/student and build/handout/instructor, `make handout`.

Both hold every chapter with its code and without outputs, so that nobody reads the result before running the cell. The
instructor's copy has each solution under its exercise. Both run where they lie, because the setup cell looks for the
series upward from the notebook; a lone notebook in Colab fetches it.
"""

import copy
import re
import shutil
import sys

import chapters
import nbformat

HANDOUT = chapters.BUILD / "handout"
EXERCISE = re.compile(r"^#{2,3} Exercise (\d+)", flags=re.M)
CHECK = re.compile(r"\b(check_\w+)\(")


def relinked(text, copied):
    """Return Markdown with links that lead from the handout's folder to the right place.

    Args:
        text: Markdown as it stands in `notebooks/`.
        copied: names of the files that lie beside the handout.
    """

    def link(match):
        words, target = match.groups()
        if re.match(r"[a-z]+:|#", target) or target.split("#")[0] in copied:
            return match[0]
        if target.startswith("solutions/"):
            return words  # the student has none, the instructor has them in place
        return f"[{words}](../../../notebooks/{target})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", link, text)


def cleared(notebook, copied):
    """Return a copy of a notebook without outputs, with links that work from the handout's folder."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = relinked(cell.source, copied)
    return notebook


def checks_in(source):
    """Return the names of the checkers that code calls."""
    return CHECK.findall(source)


def exercises(notebook):
    """Return, for each exercise's number, the index of its check cell and the name of the checker.

    Raises:
        ValueError: an exercise has no check cell.
    """
    found, current = {}, None
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            if named := EXERCISE.findall(cell.source):
                current = int(named[-1])  # the last heading of a cell that also holds the introduction
            elif re.search(r"^## ", cell.source, flags=re.M):
                current = None
        elif current and "check" in chapters.tags(cell) and current not in found:
            found[current] = (index, checks_in(cell.source)[-1])
    numbers = {int(n) for c in notebook.cells if c.cell_type == "markdown" for n in EXERCISE.findall(c.source)}
    if numbers != set(found):
        raise ValueError(f"exercises without a check cell: {sorted(numbers - set(found))}")
    return found


def solutions(notebook):
    """Return what the solutions need first (their import cells), and each exercise's cells by its number.

    What stands between two exercises under a heading of its own prepares the second, and goes with it.
    """
    preparation, between, by_number, current = [], [], {}, None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (named := EXERCISE.search(cell.source)):
            current = int(named[1])
            by_number[current], between = between, []
        elif cell.cell_type == "markdown" and re.match(r"\s*(#{1,2} |Back to )", cell.source):
            current = None if by_number else current
        if current:
            by_number[current].append(cell)
        elif by_number:
            between.append(cell)
        elif cell.cell_type == "code" and "setup" not in chapters.tags(cell):
            preparation.append(cell)
    return preparation, by_number


def with_solutions(notebook, solved):
    """Return a chapter with the solution between each exercise's stub and its check.

    Raises:
        ValueError: the two notebooks have other exercises, or a solution calls another checker.
    """
    places, (preparation, by_number) = exercises(notebook), solutions(solved)
    if set(places) != set(by_number):
        raise ValueError(f"exercises {sorted(places)} in the chapter, {sorted(by_number)} in the solutions")
    result = copy.deepcopy(notebook)
    for number, (index, checker) in sorted(places.items(), reverse=True):
        cells = [copy.deepcopy(cell) for cell in by_number[number]]
        called = {name for cell in cells if cell.cell_type == "code" for name in checks_in(cell.source)}
        if called and checker not in called:
            raise ValueError(
                f"exercise {number}: the chapter calls {checker}, the solution {', '.join(sorted(called))}"
            )
        for cell in cells:
            cell.metadata["tags"] = [*chapters.tags(cell), "solution"]
            cell.source = EXERCISE.sub(r"#### Solution \1", cell.source, count=1)
            if cell.cell_type == "markdown":
                cell.source = re.sub(r"^## ", "#### ", cell.source, count=1)  # what prepares, one level down
        result.cells[index:index] = cells
    first = min(index for index, _ in places.values())
    while first and not EXERCISE.search(result.cells[first].source):
        first -= 1
    for cell in reversed(preparation):
        cell = copy.deepcopy(cell)
        cell.metadata["tags"] = [*chapters.tags(cell), "solution"]
        cell.metadata["slideshow"] = {"slide_type": "skip"}
        result.cells.insert(first, cell)
    unique_ids(result)
    return result


def unique_ids(notebook):
    """Give a new id to a cell whose id is taken: two notebooks became one."""
    seen = set()
    for number, cell in enumerate(notebook.cells):
        if cell.id in seen:
            cell.id = f"{cell.id[:50]}-{number}"
        seen.add(cell.id)


def handouts(chapter):
    """Return the student's and the instructor's copy of a chapter; without solutions yet, the latter has none."""
    copied = {path.name for path in chapters.chapters()}
    notebook, solved = chapters.read(chapter), chapters.solutions_of(chapter)
    student = cleared(notebook, copied)
    instructor = cleared(with_solutions(notebook, chapters.read(solved)), copied) if solved else copy.deepcopy(student)
    return student, instructor


def main():
    shutil.rmtree(HANDOUT, ignore_errors=True)
    for chapter in chapters.chapters():
        for folder, notebook in zip(("student", "instructor"), handouts(chapter)):
            nbformat.validate(notebook)
            target = HANDOUT / folder / chapter.name
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, target)
        solved = sum("solution" in chapters.tags(cell) for cell in notebook.cells)
        print(f"{chapter.stem}: {len(exercises(notebook))} exercises, {solved} cells of solutions for the instructor")
    print(f"in {HANDOUT.relative_to(chapters.ROOT)}/student and {HANDOUT.relative_to(chapters.ROOT)}/instructor")


if __name__ == "__main__":
    sys.exit(main())
