"""Is this commit fit to be released? Checks everything, publishes nothing, and says what a maintainer does next.

    python tools/release.py                all of it, an hour: the tree, .ci/run, the wheels that can be built here
    python tools/release.py --tree         the tree alone: seconds
    python tools/release.py --tag v1.2.3   for the workflow that a tag starts: does it name this version?

Needs the extra `lint`. Every refusal of the tree is printed, not only the first.
"""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
VERSION: str = runpy.run_path(str(TREE / "procfast/_version.py"))["__version__"]
TAG = f"v{VERSION}"
FINAL = r"\d+\.\d+\.\d+((a|b|rc)\d+)?"
NEXT = f"""
{TAG} may be released. Nothing has been published. What is left to do:

    towncrier build --yes --version {VERSION}
    git add CHANGELOG.md changelog.d && git commit -m "procfast {VERSION}"
    git tag --sign {TAG} --message "procfast {VERSION}"
    git push origin main {TAG}

The tag starts .github/workflows/wheels.yml: it builds and tests all wheels on hosted machines, and publishes them, with
attestations, once the environment `pypi` is approved. Then raise procfast/_version.py."""


def output(*command: str) -> str:
    """What a command prints; the end with its own words, if it fails."""
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def refusals() -> Iterator[str]:
    """Why this tree is not to be released."""
    if not re.fullmatch(FINAL, VERSION):
        yield f"procfast/_version.py: {VERSION} is not of the form 1.2.3, 1.2.3a1, 1.2.3b1 or 1.2.3rc1"
    if changed := output("git", "status", "--porcelain"):
        yield f"the tree is not clean:\n{changed}"
    if (branch := output("git", "branch", "--show-current")) != "main":
        yield f"this is {branch or 'no branch'}, not main"
    if output("git", "tag", "--list", TAG):
        yield f"{TAG} is tagged already: raise procfast/_version.py"
    if re.search(rf"^## {re.escape(VERSION)} ", (TREE / "CHANGELOG.md").read_text(), re.MULTILINE):
        yield f"CHANGELOG.md has {VERSION} already: raise procfast/_version.py"
    if not any(path.name != "README.md" for path in (TREE / "changelog.d").glob("*.md")):
        yield "changelog.d has no fragments: there is nothing to release"
    if "origin" in output("git", "remote").split():
        if output("git", "ls-remote", "origin", f"refs/tags/{TAG}"):
            yield f"{TAG} is tagged at origin"
        main = output("git", "ls-remote", "origin", "refs/heads/main").partition("\t")[0]
        if main != output("git", "rev-parse", "HEAD"):
            yield "origin's main is another commit"


def check_tree() -> None:
    """The end, if there is a refusal: with all of them."""
    if found := [f"not to be released: {refusal}" for refusal in refusals()]:
        raise SystemExit("\n".join(found))


def run(*command: str) -> None:
    """Show a command and run it; the end if it fails."""
    print("+", *command, flush=True)
    if status := subprocess.run(command, cwd=TREE).returncode:
        raise SystemExit(f"not to be released: {' '.join(command)}: exit status {status}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tree", action="store_true", help="check the tree alone")
    parser.add_argument("--tag", help="check that this tag names the version")
    options = parser.parse_args()
    if options.tag is not None:
        if options.tag != TAG:
            raise SystemExit(f"the tag {options.tag} is not {TAG} of procfast/_version.py")
        return
    check_tree()
    run(sys.executable, "-m", "towncrier", "build", "--draft", "--version", VERSION)
    if options.tree:
        return
    run(".ci/run")
    # with twine and check-wheel-contents; two builds give the same bytes
    run("make", "wheels", "ARGS=--again", f"PYTHON={sys.executable}")
    check_tree()  # it has been an hour
    print(NEXT)


if __name__ == "__main__":
    main()
