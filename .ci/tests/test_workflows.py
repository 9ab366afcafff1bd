"""The workflows on GitHub: what they may do, what they run, and the one that commits, played on a fork of this machine."""

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
# What a job may write, and nothing else may: the most that each workflow's purpose needs.
MAY_WRITE = {
    ("badges", "stamp"): {"contents"},
    ("colab", "report"): {"issues"},
    ("site", "deploy"): {"pages", "id-token"},
}


def jobs(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_commit_with_its_version(path):
    used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use) for use in used), used


def test_an_action_has_one_version_in_all_workflows():
    used = {use for path in WORKFLOWS for use in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))}
    assert len({use.split("@")[0] for use in used}) == len(used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_job_may_no_more_than_it_must(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in jobs(path):
        permissions = job.get("permissions", workflow["permissions"])
        writes = {scope for scope, level in permissions.items() if level == "write"}
        assert writes == MAY_WRITE.get((path.stem, name), set())
        keeps_token = any(
            "checkout" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False
            for step in job["steps"]
        )
        assert keeps_token == ("contents" in writes)


def test_what_a_workflow_makes_the_makefile_knows():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    made = {t for p in WORKFLOWS for t in re.findall(r"run: make (\w+)", p.read_text(encoding="utf-8"))}
    assert {"test", "colab", "book"} == made and made <= targets
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test" in run


def test_every_system_and_python_that_is_promised_is_tested():
    matrix = dict(jobs(ROOT / ".github" / "workflows" / "tests.yml"))["test"]["strategy"]["matrix"]
    assert [system.split("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]


@pytest.mark.skipif(os.name == "nt", reason="the job runs on Linux")
def test_the_first_push_to_a_fork_is_stamped_and_the_second_changes_nothing(tmp_path):
    origin, work = tmp_path / "fork.git", tmp_path / "work"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GITHUB_REPOSITORY": "xanthippe/flycatcher", "GITHUB_REF_NAME": "trunk"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=work, env=environment, check=True, capture_output=True, text=True
        )

    work.mkdir()
    for folder in (".ci", ".github", "helpers", "notebooks", "data"):
        shutil.copytree(ROOT / folder, work / folder, ignore=shutil.ignore_patterns("__pycache__", ".*_c*"))
    shutil.copy(ROOT / "README.md", work)
    subprocess.run(["git", "init", "-q", "--bare", str(origin)], check=True)
    git("init", "-q", "-b", "trunk")
    git("add", "-A")
    git("-c", "user.name=X", "-c", "user.email=x@example.org", "commit", "-q", "-m", "a fork")
    git("remote", "add", "origin", str(origin))
    git("push", "-q", "-u", "origin", "trunk")

    steps = dict(jobs(ROOT / ".github" / "workflows" / "badges.yml"))["stamp"]["steps"]
    commits = []
    for _ in range(2):
        for step in steps:
            if "run" in step:
                subprocess.run(["bash", "-e", "-c", step["run"]], cwd=work, env=environment, check=True, timeout=120)
        commits.append(git("rev-list", "--count", "origin/trunk").stdout.strip())
    assert commits == ["2", "2"]
    assert "github/xanthippe/flycatcher/blob/trunk/notebooks/01_" in git("show", "origin/trunk:README.md").stdout
    assert not git("status", "--short").stdout
