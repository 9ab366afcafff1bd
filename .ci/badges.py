"""Write the repository's address and the setup cell wherever they stand, and check that no two places disagree.

    badges.py [owner/name|origin [branch [release]]]     (`make badges`: `origin`, the address of git's remote)

Without a name the address stays, and the setup cell is written. The one source of both is `.ci/setup_cell.py`. The badges
of the README open the last release, a tag, if there is one: what somebody copies from there clones that tag for ever.
Standard library only: the workflow that stamps a fork installs nothing.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(".ci", "setup_cell.py")
KINDS = {".cff", ".css", ".html", ".ipynb", ".json", ".md", ".py", ".toml", ".txt", ".yml"}
PASSED_OVER = {".git", ".venv", "build", "tests", "__pycache__", ".ipynb_checkpoints"}  # tests make up addresses
SETTING = re.compile(r'^REPOSITORY, BRANCH = "(?P<repository>[^"]+)", "(?P<branch>[^"]+)"', re.M)
COLAB = re.compile(r"colab\.research\.google\.com/github/(?P<repository>[\w.-]+/[\w.-]+)/blob/(?P<branch>[^/\s]+)/")
RELEASE = re.compile(r"v\d+(\.\d+)*")
GITHUB = re.compile(r"github(?:\.com)?[/:](?P<repository>(?P<owner>[\w.-]+)/(?P<name>[\w-]+))")
SETUP_IN_TEXT = re.compile(r'^# %% [^\n]*tags=\["setup"[^\n]*\n.*?(?=\n+# %%)', re.M | re.S)
METADATA = {  # folded in Colab and in JupyterLab
    "cellView": "form",
    "jupyter": {"source_hidden": True},
    "tags": ["setup", "nbval-ignore-output"],
}


def setup_cell(root=ROOT):
    """Return the source of the setup cell."""
    return (root / SOURCE).read_text(encoding="utf-8").split(f"\n# {'-' * 118}\n")[1].rstrip("\n")


def address(root=ROOT):
    """Return (owner/name, branch)."""
    return SETTING.search((root / SOURCE).read_text(encoding="utf-8")).group("repository", "branch")


def from_remote(remote):
    """Return owner/name of a git remote on GitHub, `None` of any other."""
    found = re.fullmatch(
        r"(?:https://|ssh://|git@|git://)?(?:[^@/]+@)?github\.com[/:]([\w.-]+/[\w.-]+?)(\.git)?/?", remote
    )
    return found and found.group(1)


def files(root):
    """Yield the text files that may hold the address."""
    for folder, inside, names in os.walk(root):
        inside[:] = sorted(set(inside) - PASSED_OVER)
        yield from (Path(folder, name) for name in sorted(names) if Path(name).suffix in KINDS)


def texts(root):
    """Yield the text twins of the notebooks."""
    yield from sorted((root / "notebooks" / "text").rglob("*.py"))


def notebook_of(text, root):
    """Return where the notebook of a text twin lies."""
    return root / "notebooks" / text.relative_to(root / "notebooks" / "text").with_suffix(".ipynb")


def write(path, text):
    """Write a file if that changes it; return whether it did."""
    if path.read_bytes() == text.encode():
        return False
    path.write_bytes(text.encode())
    return True


def stamped(text, old, new):
    """Return a text with the address `new` in place of `old`, each (owner/name, branch)."""

    def replace(found):
        repository = new[0] if found["repository"] == old[0] else found["repository"]
        branch = new[1] if found.group("repository", "branch") == old else found["branch"]
        return f"colab.research.google.com/github/{repository}/blob/{branch}/"

    text = COLAB.sub(replace, text)
    text = text.replace("{}.github.io/{}/".format(*old[0].split("/")), "{}.github.io/{}/".format(*new[0].split("/")))
    return re.sub(rf"(?<![\w.-]){re.escape(old[0])}(?![\w-])", lambda _: new[0], text)


def release_of(readme, here):
    """Return the release that the README's badges open, `None` if they open the branch."""
    opened = {found["branch"] for found in COLAB.finditer(readme) if found["repository"] == here[0]} - {here[1]}
    return opened.pop() if len(opened) == 1 and all(map(RELEASE.fullmatch, opened)) else None


def stamp(root, repository, branch, release=None):
    """Write the address and the setup cell everywhere; return the paths of the files that changed.

    Args:
        root: the folder of the repository.
        repository: owner/name.
        branch: the branch that notebooks clone, or the tag of a release.
        release: the tag that the README's badges open. `None` leaves it as it is, unless the repository is another.
    """
    old, new, changed = address(root), (repository, branch), set()
    readme = (root / "README.md").read_text(encoding="utf-8")
    if repository == old[0]:
        release = release or release_of(readme, old)
    for path in files(root):
        text = stamped(path.read_text(encoding="utf-8"), old, new)
        if path == root / "README.md":
            text = COLAB.sub(f"colab.research.google.com/github/{repository}/blob/{release or branch}/", text)
        if write(path, text):
            changed.add(path)
    source = (root / SOURCE).read_text(encoding="utf-8")
    source = SETTING.sub(lambda _: f'REPOSITORY, BRANCH = "{repository}", "{branch}"', source)
    if write(root / SOURCE, source):
        changed.add(root / SOURCE)
    cell = setup_cell(root)
    in_text = as_text(cell)
    for text in texts(root):
        if write(text, SETUP_IN_TEXT.sub(lambda _: in_text, text.read_text(encoding="utf-8"))):
            changed.add(text)
        path = notebook_of(text, root)
        if path.exists() and write(path, with_setup(path, cell)):
            changed.add(path)
    return sorted(changed)


def as_text(cell):
    """Return the setup cell as it stands in a text twin."""
    metadata = " ".join(f"{key}={json.dumps(value)}" for key, value in METADATA.items())
    return f"# %% {metadata}\n{cell}"


def is_setup(cell):
    """Say whether a notebook's cell is its setup cell."""
    return "setup" in cell["metadata"].get("tags", [])


def with_setup(path, source):
    """Return a notebook, as it is stored, with this setup cell; ids and outputs stay."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        sys.exit(
            f"{path.name} is damaged (empty? marks of a merge?): {error}. `git checkout` brings back the last good one"
        )
    for cell in content["cells"]:
        if is_setup(cell):
            cell["source"], cell["metadata"] = source.splitlines(keepends=True), METADATA
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"  # as nbformat writes it


def problems(root=ROOT):
    """Yield the places that disagree with the address or the setup cell in `.ci/setup_cell.py`."""
    here, cell = address(root), setup_cell(root)
    remedy = "run `make badges`"
    for path in files(root):
        content, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        opens = (here[0], release_of(content, here) or here[1]) if name == "README.md" else here
        for found in COLAB.finditer(content):
            if found.group("repository", "branch") != opens:
                yield f"{name}: a badge opens {found['repository']}, {found['branch']}, not {', '.join(here)}; {remedy}"
        for found in GITHUB.finditer(content):
            known = {here[0].split("/")[1].removesuffix(".git"), "flycatcher"}
            if found["name"] in known and found["repository"] != here[0]:
                yield f"{name}: the address {found['repository']} is not {here[0]}; {remedy}"
    for text in texts(root):
        path, content = notebook_of(text, root), text.read_text(encoding="utf-8")
        found = SETUP_IN_TEXT.search(content)
        if found is None or found.group() != as_text(cell):
            yield f"{text.relative_to(root).as_posix()}: the setup cell is not that of {SOURCE.as_posix()}; {remedy}"
        if path.exists():
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            if [("".join(c["source"]), c["metadata"]) for c in cells if is_setup(c)] != [(cell, METADATA)]:
                yield f"{path.relative_to(root).as_posix()}: the setup cell is not that of {SOURCE.as_posix()}; {remedy}"
        badge = re.search(COLAB.pattern + r"(?P<path>[^)\s]+)", content)
        if badge is None or root / badge["path"] != path:
            yield f"{text.relative_to(root).as_posix()}: its badge does not open {path.relative_to(root).as_posix()}"


def wanted(arguments, root=ROOT):
    """Return the (owner/name, branch, release) that the command line asks for, or leave with a sentence that says why not."""
    repository, branch = address(root)
    if not arguments:
        return repository, branch, None
    name, *more = arguments
    branch, release = more[0] if more else branch, more[1] if len(more) > 1 else None
    if name == "origin":
        git = subprocess.run(["git", "remote", "get-url", "origin"], cwd=root, capture_output=True, encoding="utf-8")
        name = from_remote(git.stdout.strip())
        if not name:
            where = git.stdout.strip() or "nowhere"
            sys.exit(f"git's origin is {where}, not a repository on GitHub: say which, as in REPO=owner/name")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        sys.exit(f"REPO={name} should be owner/name, as in the address of the repository on GitHub")
    if not re.fullmatch(r"[\w.-]+", branch):
        sys.exit(f"BRANCH={branch} cannot stand in Colab's address: use letters, digits, dots, - and _, no slash")
    if release and not RELEASE.fullmatch(release):
        sys.exit(f"{release} is no release: a tag looks like v2.0.0")
    return name, branch, release


if __name__ == "__main__":
    place = wanted(sys.argv[1:])
    for path in stamp(ROOT, *place):
        print("wrote", path.relative_to(ROOT).as_posix())
    print(f"The address is {place[0]}, branch {place[1]}; it stands in {SOURCE.as_posix()}.")
    for problem in problems():
        print("still wrong, and not for this program to mend:", problem)
