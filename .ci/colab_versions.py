"""Read which versions Colab has preinstalled today, for the weekly play: `colab_versions.py FILE`.

Google publishes the list as pip-freeze.txt and os-info.txt of the repository googlecolab/backend-info. What of it
`.ci/colab-requirements.txt` or the setup cell names goes into FILE; printed is `python=3.13`, as a workflow's output.
Standard library only. Without a network: `colab_versions.py FILE FREEZE OS_INFO`, the two from disk.
"""

import re
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.start import PACKAGES

LISTS = "https://raw.githubusercontent.com/googlecolab/backend-info/main/"
REQUIREMENTS = Path(__file__).with_name("colab-requirements.txt")


def canonical(name):
    """Return a package's name as pip compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def frozen(listing):
    """Return {package: version} of what `pip freeze` printed.

    A package that was installed from a file has no `==`; the version then stands in the file's name, as in
    `torch @ https://.../torch-2.11.0%2Bcpu-cp313-cp313-manylinux_2_28_x86_64.whl`. What is behind a `+` is the kind of
    build and left out.
    """
    versions = {}
    for line in listing.splitlines():
        pinned = "==" in line.split("@")[0]
        name, _, rest = line.partition("==" if pinned else " @ ")
        version = rest if pinned else "".join(re.findall(r"/[\w.]+-(\d[^-/]*)-[^/]*\.whl", rest)[:1])
        if rest and version and not line.startswith("#"):
            versions[canonical(name)] = re.split(r"\+|%2B", version.strip())[0]
    return versions


def python_version(system):
    """Return "3.13" of what os-info.txt says about Python 3.13.x."""
    found = re.search(r"^Python (3\.\d+)", system, flags=re.M)
    if not found:
        raise ValueError(f"os-info.txt names no Python: {system[:200]!r}")
    return found.group(1)


def today(versions, requirements, packages):
    """Return the requirements with the versions of today; what Colab has not (or no more) is left out.

    Args:
        versions: {package: version}, of `frozen`.
        requirements: the text of `.ci/colab-requirements.txt`.
        packages: the packages that the setup cell installs where they are missing, which Colab may have by now.
    """
    names = re.findall(r"^([A-Za-z][\w.-]*)", requirements, flags=re.M)
    absent = [name for name in ("torch", "numpy", "matplotlib", "ipython", "ipykernel") if name not in versions]
    if absent:
        raise ValueError(f"pip-freeze.txt lists no {', '.join(absent)}: has its form changed?")
    wanted = dict.fromkeys(canonical(name) for name in [*names, *packages])
    return "".join(f"{name}=={versions[name]}\n" for name in wanted if name in versions)


def read(name, given):
    """Return the text of one list, from a given path or from GitHub."""
    if given:
        return Path(given).read_text(encoding="utf-8")
    with urllib.request.urlopen(LISTS + name, timeout=60) as answer:
        return answer.read().decode()


def main(target, freeze=None, system=None):
    versions = frozen(read("pip-freeze.txt", freeze))
    packages = [package.split("==")[0] for package in PACKAGES.values()]
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(today(versions, REQUIREMENTS.read_text(encoding="utf-8"), packages), encoding="utf-8")
    print(f"python={python_version(read('os-info.txt', system))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
