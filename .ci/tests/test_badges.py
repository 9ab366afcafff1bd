"""The address in one place: `make badges` writes it everywhere, and says so when two places disagree."""

import json
import shutil
import subprocess

import badges
import nbformat
import pytest
from badges import ROOT


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository's text files that belongs to somebody, and agrees with itself."""
    for path in [*badges.files(ROOT), ROOT / "Makefile"]:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    badges.stamp(tmp_path, "xanthippe/flycatcher", "main")
    return tmp_path


def stale(root):
    """Return the problems that `make badges` would put right."""
    return [problem for problem in badges.problems(root) if "make badges" in problem]


def everything(root):
    return "\n".join(path.read_text(encoding="utf-8") for path in badges.files(root))


def test_this_repository_agrees_with_itself():
    assert list(badges.problems()) == []


def test_stamping_leaves_nothing_of_the_old_address(copy):
    assert badges.address(copy) == ("xanthippe/flycatcher", "main")
    assert everything(copy).count("xanthippe/flycatcher") > 10
    changed = badges.stamp(copy, "bob/attention-course", "trunk")
    assert copy / "README.md" in changed and copy / "notebooks" / "01_attention_basics.ipynb" in changed
    assert "xanthippe" not in everything(copy) and "bob.github.io/attention-course/" in everything(copy)
    assert "github/bob/attention-course/blob/trunk/notebooks/01_attention_basics.ipynb" in everything(copy)
    assert stale(copy) == []


def test_stamping_twice_changes_nothing(copy):
    assert badges.stamp(copy, "xanthippe/flycatcher", "main") == []


def test_there_and_back_is_where_it_began(copy):
    before = {path: path.read_bytes() for path in badges.files(copy)}
    badges.stamp(copy, "bob/attention-course", "trunk")
    badges.stamp(copy, "xanthippe/flycatcher", "main")
    assert before == {path: path.read_bytes() for path in badges.files(copy)}


def test_ids_outputs_and_form_of_a_notebook_stay(copy):
    path = copy / "notebooks" / "01_attention_basics.ipynb"
    before = nbformat.read(path, as_version=4)
    badges.stamp(copy, "bob/flycatcher", "main")
    after = nbformat.read(path, as_version=4)
    assert [(c.id, c.get("outputs")) for c in after.cells] == [(c.id, c.get("outputs")) for c in before.cells]
    assert nbformat.writes(after) + "\n" == path.read_text(encoding="utf-8")  # as `make sync` would write it


def test_a_damaged_notebook_is_named(copy):
    (copy / "notebooks" / "01_attention_basics.ipynb").write_text("<<<<<<< mine\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="01_attention_basics.ipynb is damaged.*git checkout"):
        badges.stamp(copy, *badges.address(copy))


def test_a_changed_cell_is_carried_into_every_notebook(copy):
    source = copy / badges.SOURCE
    source.write_text(source.read_text(encoding="utf-8").replace("\nprepare()", "\nprepare()  # new"), encoding="utf-8")
    twins = list(badges.texts(copy))
    assert len(stale(copy)) == len(twins) + sum(badges.notebook_of(text, copy).exists() for text in twins)
    badges.stamp(copy, *badges.address(copy))
    assert stale(copy) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("README.md", "github/xanthippe/flycatcher", "github/bob/flycatcher", "a badge opens bob/flycatcher"),
        ("README.md", "/blob/main/", "/blob/master/", "a badge opens xanthippe/flycatcher, master"),
        (
            "notebooks/text/01_attention_basics.py",
            '"xanthippe/flycatcher"',
            '"bob/flycatcher"',
            "the setup cell is not",
        ),
        ("notebooks/01_attention_basics.ipynb", '"xanthippe/flycatcher', '"bob/flycatcher', "the setup cell is not"),
        ("notebooks/text/01_attention_basics.py", "notebooks/01_", "notebooks/03_", "its badge does not open"),
        ("data/README.md", "# ", "# https://github.com/carol/flycatcher ", "the address carol/flycatcher is not"),
    ],
)
def test_a_place_that_disagrees_is_named(copy, file, old, new, says):
    path = copy / file
    content = path.read_text(encoding="utf-8")
    old, new = (json.dumps(x)[1:-1] if file.endswith("ipynb") else x for x in (old, new))
    assert old in content
    path.write_text(content.replace(old, new, 1), encoding="utf-8")
    assert any(problem.startswith(f"{file}: {says}") for problem in badges.problems(copy))


def test_another_repository_with_the_same_beginning_is_left_alone():
    text = "github.com/xanthippe/flycatcher-data and mxanthippe/flycatcher, but xanthippe/flycatcher."
    stamped = badges.stamped(text, ("xanthippe/flycatcher", "main"), ("bob/course", "main"))
    assert stamped == "github.com/xanthippe/flycatcher-data and mxanthippe/flycatcher, but bob/course."


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://github.com/xanthippe/flycatcher.git", "xanthippe/flycatcher"),
        ("https://github.com/xanthippe/flycatcher", "xanthippe/flycatcher"),
        ("https://someone:token@github.com/xanthippe/my.course.git", "xanthippe/my.course"),
        ("git@github.com:xanthippe/flycatcher.git", "xanthippe/flycatcher"),
        ("ssh://git@github.com/xanthippe/flycatcher.git", "xanthippe/flycatcher"),
        ("/srv/git/flycatcher.git", None),
        ("https://example.org/xanthippe/flycatcher.git", None),
        ("https://notgithub.com/xanthippe/flycatcher.git", None),
        ("", None),
    ],
)
def test_the_remote_is_understood(remote, expected):
    assert badges.from_remote(remote) == expected


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["flycatcher"], "REPO=flycatcher should be owner/name"),
        (["bob/course", "feature/x"], "BRANCH=feature/x cannot stand in Colab's address"),
        (["bob/course", "main", "latest"], "latest is no release"),
        (["origin"], "origin is nowhere, not a repository on GitHub: say which, as in REPO=owner/name"),
        (["origin", "trunk"], "origin is nowhere"),
    ],
)
def test_what_cannot_be_an_address_is_refused_and_nothing_is_written(copy, arguments, says):
    subprocess.run(["git", "init", "-q", str(copy)], check=True)
    before = everything(copy)
    with pytest.raises(SystemExit, match=says):
        badges.wanted(arguments, copy)
    assert everything(copy) == before


def test_an_origin_that_is_not_on_github_is_named_and_one_that_is_is_taken(copy):
    subprocess.run(["git", "init", "-q", str(copy)], check=True)
    subprocess.run(["git", "remote", "add", "origin", "https://example.org/x/y.git"], cwd=copy, check=True)
    with pytest.raises(SystemExit, match="https://example.org/x/y.git, not a repository on GitHub"):
        badges.wanted(["origin"], copy)
    subprocess.run(["git", "remote", "set-url", "origin", "git@github.com:bob/course.git"], cwd=copy, check=True)
    assert badges.wanted(["origin", "trunk"], copy) == ("bob/course", "trunk", None)
    assert badges.wanted([], copy) == ("xanthippe/flycatcher", "main", None)


def test_the_readme_opens_the_last_release_and_the_notebooks_stay_with_their_branch(copy):
    def opened():
        return {found["branch"] for found in badges.COLAB.finditer((copy / "README.md").read_text(encoding="utf-8"))}

    changed = badges.stamp(copy, "xanthippe/flycatcher", "main", "v2.0.0")
    assert changed == [copy / "README.md"] and opened() == {"v2.0.0"} and stale(copy) == []
    assert badges.stamp(copy, "xanthippe/flycatcher", "main") == []  # by hand, between two releases
    badges.stamp(copy, "xanthippe/flycatcher", "main", "v2.1.0")
    assert opened() == {"v2.1.0"} and badges.address(copy)[1] == "main"
    badges.stamp(copy, "bob/course", "main")  # a fork has no releases yet
    assert opened() == {"main"} and stale(copy) == []


def test_a_released_notebook_clones_its_own_tag(copy):
    badges.stamp(copy, "xanthippe/flycatcher", "v2.0.0", "v2.0.0")
    assert stale(copy) == [] and "/blob/main/" not in everything(copy)
    for path in (copy / "notebooks").rglob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        (setup,) = (cell.source for cell in cells if badges.is_setup(cell))
        assert 'REPOSITORY, BRANCH = "xanthippe/flycatcher", "v2.0.0"' in setup
