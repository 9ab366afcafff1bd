"""The workflows on GitHub: what they may do, what they run, and the one that commits, played on a fork of this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))
# What a job may write, and nothing else may: the most that each workflow's purpose needs.
MAY_WRITE = {
    ("badges", "stamp"): {"contents"},
    ("release", "badges"): {"contents"},
    ("release", "tag"): {"contents"},
    ("site", "deploy"): {"pages", "id-token"},
    ("weekly", "report"): {"issues"},
}
linux = pytest.mark.skipif(sys.platform != "linux", reason="the job runs on Linux")


def content(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path):
    return content(path)["jobs"].items()


def job(workflow, name):
    return dict(jobs(ROOT / ".github" / "workflows" / f"{workflow}.yml"))[name]


def commands():
    """Yield every line that some workflow or action runs."""
    for path in WORKFLOWS:
        for _, a_job in jobs(path):
            yield from (line for step in a_job.get("steps", []) for line in step.get("run", "").splitlines())
    for path in ACTIONS:
        yield from (line for step in content(path)["runs"]["steps"] for line in step.get("run", "").splitlines())


def foreign_actions():
    for path in [*WORKFLOWS, *ACTIONS]:
        yield from re.findall(r"uses: ((?!\./).*)", path.read_text(encoding="utf-8"))


def test_every_action_is_pinned_by_commit_with_its_version_and_is_the_same_everywhere():
    used = set(foreign_actions())
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in used), used
    assert len({use.split("@")[0] for use in used}) == len(used)


def test_dependabot_looks_wherever_an_action_or_a_pin_stands():
    python, actions = content(ROOT / ".github" / "dependabot.yml")["updates"]
    assert actions["directories"] == ["/", *(f"/.github/actions/{path.parent.name}" for path in ACTIONS)]
    assert python["directories"] == ["/", "/.ci"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_may_no_more_than_it_must(path):
    workflow = content(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, a_job in jobs(path):
        permissions = a_job.get("permissions", workflow["permissions"])
        writes = {scope for scope, level in permissions.items() if level == "write"}
        assert writes == MAY_WRITE.get((path.stem, name), set())
        checkouts = [step for step in a_job.get("steps", []) if "checkout" in step.get("uses", "")]
        for step in checkouts:
            assert (step.get("with", {}).get("persist-credentials") is not False) == ("contents" in writes)
        assert "timeout-minutes" in a_job or "uses" in a_job


@pytest.mark.skipif(not shutil.which("make"), reason="CI calls make on Linux only")
def test_what_a_workflow_makes_the_makefile_knows():
    made = [line.split() for line in commands() if line.startswith("make ")]
    goals = {word for line in made for word in line[1:] if "=" not in word}
    assert goals == {"lint", "book", "slides", "look", "colab"}
    for line in made:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        command = ["make", "--dry-run", *line[1:]]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_programs_and_files_that_a_workflow_names_are_there():
    named = {name for line in commands() for name in re.findall(r"(?:\.ci|helpers|\.github)/[\w/.-]+", line)}
    assert {".ci/environment.py", ".ci/colab_versions.py", ".ci/badges.py", "helpers/tests", ".ci/tests"} <= named
    assert all((ROOT / name).exists() for name in named), named


def test_every_system_and_python_that_is_promised_is_tested():
    import environment

    matrix = job("tests", "helpers")["strategy"]["matrix"]
    assert [system.split("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]
    (_, oldest), (_, newest) = environment.OLDEST, environment.NEWEST
    assert matrix["python"] == [f"3.{minor}" for minor in range(oldest, newest + 1)]


def play(step, cwd, **more):
    """Run a step as GitHub does; return what happened."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | more
    environment["PATH"] = os.pathsep.join(
        [*filter(None, [more.get("PATH")]), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    script = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    return subprocess.run(script, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=120)


@linux
def test_every_notebook_has_a_job(tmp_path):
    step = job("tests", "list")["steps"][-1]
    assert play(step, ROOT, GITHUB_OUTPUT=str(tmp_path / "output")).returncode == 0
    name, _, listed = (tmp_path / "output").read_text(encoding="utf-8").partition("=")
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").rglob("*.ipynb")}
    assert name == "notebooks" and set(json.loads(listed)) == {
        name for name in there if ".ipynb_checkpoints" not in name
    }


@linux
def test_the_newest_releases_are_those_of_every_requirement(tmp_path):
    names = ["requirements.txt", ".ci/site-requirements.txt"]
    (tmp_path / ".ci").mkdir()
    for name in names:
        shutil.copy(ROOT / name, tmp_path / name)
    (step,) = (step for step in job("weekly", "newest")["steps"] if "sed" in step.get("run", ""))
    assert play(step, tmp_path).returncode == 0
    for name in names:
        before, after = (root.joinpath(name).read_text(encoding="utf-8").splitlines() for root in (ROOT, tmp_path))
        pinned = [line for line in before if re.match(r"\w", line)]
        assert [re.sub(r"==[^ ]+", "", line) for line in pinned] == [line for line in after if re.match(r"\w", line)]


GH = """#!/usr/bin/env bash
if [ "$2" = list ]; then [ -z "$OPEN" ] || echo "$OPEN"; else echo "$*" >> "$LOG"; fi
"""


@linux
@pytest.mark.parametrize(
    ("result", "is_open", "says"),
    [
        ("failure", "", "issue create --title It fails --body The weekly run failed: https"),
        ("failure", "7", "issue comment 7 --body It failed again: https"),
        ("success", "7", "issue close 7 --comment Green again: https"),
        ("success", "", ""),
        ("unknown", "", ""),
        ("unknown", "7", ""),
        ("skipped", "7", ""),
    ],
)
def test_an_issue_is_opened_once_and_closed_by_the_next_green_run(tmp_path, result, is_open, says):
    (tmp_path / "gh").write_text(GH, encoding="utf-8")
    (tmp_path / "gh").chmod(0o755)
    (step,) = job("weekly", "report")["steps"]
    log = tmp_path / "log"
    more = {"TITLE": "It fails", "RESULT": result, "RUN": "https", "OPEN": is_open, "LOG": str(log)}
    assert play(step, tmp_path, PATH=str(tmp_path), **more).returncode == 0
    assert (log.read_text(encoding="utf-8").strip() if log.exists() else "") == says


def test_a_list_that_could_not_be_had_is_no_failure_of_the_notebooks():
    play_job, report = job("weekly", "play"), job("weekly", "report")
    assert play_job["outputs"] == {"listed": "${{ steps.colab.outcome }}"}
    assert play_job["steps"][1]["id"] == "colab" and "colab_versions.py" in play_job["steps"][1]["run"]
    first = report["strategy"]["matrix"]["include"][0]
    assert first["result"] == "${{ needs.play.outputs.listed == 'success' && needs.play.result || 'unknown' }}"


@pytest.fixture
def fork(tmp_path):
    """A clone of a fork on this machine, as a job sees it, and a function that plays the steps of a job in it."""
    origin, work = tmp_path / "fork.git", tmp_path / "work"
    work.mkdir()
    for folder in (".ci", ".github", "helpers", "notebooks", "data"):
        shutil.copytree(ROOT / folder, work / folder, ignore=shutil.ignore_patterns("__pycache__", ".*_c*"))
    for name in ("README.md", "CHANGELOG.md", "requirements.txt"):
        shutil.copy(ROOT / name, work)
    (work / ".gitignore").write_text("build/\n", encoding="utf-8")

    def git(*arguments):
        who = ["-c", "user.name=X", "-c", "user.email=x@example.org"]
        done = subprocess.run(["git", *who, *arguments], cwd=work, check=True, capture_output=True, encoding="utf-8")
        return done.stdout.strip()

    git("init", "-q", "--bare", str(origin))
    git("init", "-q", "-b", "trunk")
    git("add", "-A")
    git("commit", "-q", "-m", "a fork")
    git("remote", "add", "origin", str(origin))
    git("push", "-q", "-u", "origin", "trunk")
    (tmp_path / "gh").write_text(GH, encoding="utf-8")
    (tmp_path / "gh").chmod(0o755)

    def steps(workflow, name, **more):
        for step in job(workflow, name)["steps"]:
            if "run" in step:
                known = {"GITHUB_REPOSITORY": "xanthippe/flycatcher", "GITHUB_REF_NAME": "trunk", "PATH": str(tmp_path)}
                done = play(step, work, **known, LOG=str(tmp_path / "log"), **more)
                if done.returncode:
                    return done.stdout + done.stderr
        return ""

    return git, steps


@linux
def test_the_first_push_to_a_fork_is_stamped_and_the_second_changes_nothing(fork):
    git, steps = fork
    for _ in range(2):
        assert steps("badges", "stamp") == ""
        assert git("rev-list", "--count", "origin/trunk") == "2"
    assert "github/xanthippe/flycatcher/blob/trunk/notebooks/01_" in git("show", "origin/trunk:README.md")
    assert not git("status", "--short")


@linux
def test_a_release_clones_its_own_tag_and_the_readme_opens_it(fork):
    git, steps = fork
    assert steps("badges", "stamp") == ""
    assert 'CHANGELOG.md has nothing under "## 1.9"' in steps("release", "tag", VERSION="1.9")
    assert steps("release", "tag", VERSION="2.0.0") == ""
    notebook = json.loads(git("show", "v2.0.0:notebooks/01_attention_basics.ipynb"))
    (setup,) = ("".join(cell["source"]) for cell in notebook["cells"] if "setup" in cell["metadata"].get("tags", []))
    assert 'REPOSITORY, BRANCH = "xanthippe/flycatcher", "v2.0.0"' in setup
    assert "/blob/trunk/" not in git("show", "v2.0.0:README.md")

    git("reset", "-q", "--hard", "origin/trunk")  # every job has a clone of its own
    assert "already exists" in steps("release", "tag", VERSION="2.0.0")
    git("reset", "-q", "--hard", "origin/trunk")
    git("push", "-q", "origin", "HEAD:refs/tags/v10.0.0-try")  # no release
    assert steps("badges", "stamp") == ""
    readme = git("show", "origin/trunk:README.md")
    assert "/blob/v2.0.0/notebooks/01_" in readme and "/blob/trunk/" not in readme
    assert 'flycatcher", "trunk"  # on GitHub' in git("show", "origin/trunk:.ci/setup_cell.py")


def test_the_citation_names_the_newest_version_of_the_changelog():
    newest = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
    assert f"\nversion: {newest}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_forks_are_cheap_and_the_site_is_built_with_or_without_pages():
    assert any("environment.py --torch cpu" in line for line in commands())
    build = job("site", "build")
    assert "if" not in build and any("make book slides" in step.get("run", "") for step in build["steps"])


def test_the_weekly_play_runs_on_demand_and_says_when_github_switches_it_off():
    text = (ROOT / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8")
    assert (
        "workflow_dispatch" in content(ROOT / ".github" / "workflows" / "weekly.yml")[True]
    )  # YAML reads `on` as true
    assert "60 days" in text
