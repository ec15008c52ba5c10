"""What `tools/release.py` refuses, in a small repository with an origin; CI and wheels are stand-ins there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = "import sys\nprint('stand-in:', *sys.argv)\nsys.exit({status})\n"


class Repository:
    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--bare", "--initial-branch=main", "../origin.git")
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "tests")
        self.git("config", "user.email", "tests@example.invalid")
        self.git("remote", "add", "origin", "../origin.git")
        for name in ("tools/release.py", "pyproject.toml", "changelog.d/README.md"):
            (path / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, path / name)
        self.write("CHANGELOG.md", "# Changelog\n\n<!-- towncrier release notes start -->\n")
        self.write("procfast/_version.py", '__version__ = "1.2.3"\n')
        self.write("changelog.d/7.queue.feature.md", "Queues are faster.\n")
        self.write(".ci/run", f"#!{sys.executable}\n" + STAND_IN.format(status=0)).chmod(0o755)
        self.write("wheels.py", STAND_IN.format(status=0))
        self.write("Makefile", "wheels:\n\t$(PYTHON) wheels.py $(ARGS)\n")
        self.push()

    def write(self, name, text):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def git(self, *words):
        done = subprocess.run(["git", *words], cwd=self.path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        self.git("push", "--quiet", "origin", "HEAD:main")

    def release(self, *words):
        command = [sys.executable, "-B", "tools/release.py", *words]
        return subprocess.run(command, cwd=self.path, capture_output=True, text=True)

    def refused(self, *words):
        done = self.release(*words)
        assert done.returncode == 1 and "may be released" not in done.stdout, done
        return done.stderr


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Repository(tmp_path / "repository")


def test_fit(repository):
    """Everything is looked at, the next steps are told, and nothing is done."""
    before = repository.git("for-each-ref"), repository.git("ls-remote", "origin")
    done = repository.release()
    assert done.returncode == 0, done.stderr
    at = [
        done.stdout.index(text) for text in ("Queues are faster", ".ci/run", "--again", "git tag")
    ]
    assert at == sorted(at)
    assert "v1.2.3 may be released. Nothing has been published." in done.stdout
    assert (repository.git("for-each-ref"), repository.git("ls-remote", "origin")) == before
    assert repository.git("status", "--porcelain") == ""


def test_tree_alone(repository):
    done = repository.release("--tree")
    assert done.returncode == 0, done.stderr
    assert "stand-in" not in done.stdout and "may be released" not in done.stdout


def test_not_clean(repository):
    repository.write("changelog.d/7.pool.feature.md", "Pools, too.\n")
    assert "not clean:\n?? changelog.d/7.pool.feature.md" in repository.refused()


def test_another_branch(repository):
    repository.git("switch", "--quiet", "--create", "topic")
    assert "this is topic, not main" in repository.refused()
    repository.git("switch", "--quiet", "--detach")
    assert "this is no branch, not main" in repository.refused()


def test_tagged(repository):
    repository.git("tag", "v1.2.3")
    assert "v1.2.3 is tagged already" in repository.refused()
    repository.git("push", "--quiet", "origin", "v1.2.3")
    repository.git("tag", "--delete", "v1.2.3")
    assert "v1.2.3 is tagged at origin" in repository.refused()


def test_not_what_origin_has(repository):
    repository.git("commit", "--quiet", "--allow-empty", "--message", "not pushed")
    assert "origin's main is another commit" in repository.refused()


def test_without_an_origin(repository):
    repository.git("remote", "remove", "origin")
    assert repository.release("--tree").returncode == 0


def test_no_fragments(repository):
    (repository.path / "changelog.d/7.queue.feature.md").unlink()
    repository.push()
    assert "no fragments" in repository.refused()


@pytest.mark.parametrize("name", ["7.queue.improvement.md", "queue.md"])
def test_fragment_of_no_type(repository, name):
    repository.write(f"changelog.d/{name}", "Better.\n")
    repository.push()
    assert name in repository.refused("--tree")


def test_in_the_changelog_already(repository):
    repository.write("CHANGELOG.md", "# Changelog\n\n## 1.2.3 (2026-01-01)\n")
    repository.push()
    assert "CHANGELOG.md has 1.2.3 already" in repository.refused()


@pytest.mark.parametrize("version", ["1.2", "1.2.3.dev1", "1.2.3+local"])
def test_version_of_another_form(repository, version):
    repository.write("procfast/_version.py", f'__version__ = "{version}"\n')
    repository.push()
    assert f"{version} is not of the form" in repository.refused()


def test_every_refusal_is_told(repository):
    repository.git("tag", "v1.2.3")
    repository.git("switch", "--quiet", "--create", "topic")
    repository.write("left", "over\n")
    assert repository.refused().count("not to be released: ") == 3


@pytest.mark.parametrize("red", [".ci/run", "wheels.py"])
def test_red(repository, red):
    head = (repository.path / red).read_text().partition("import sys")[0]
    repository.write(red, head + STAND_IN.format(status=3))
    repository.push()
    error = repository.refused()
    assert "not to be released" in error and "exit status" in error


def test_changed_meanwhile(repository):
    repository.write("wheels.py", "open('left', 'w').close()\n")
    repository.push()
    assert "?? left" in repository.refused()


def test_tag(repository):
    assert repository.release("--tag", "v1.2.3").returncode == 0
    for tag in ("v1.2.4", "1.2.3", ""):
        assert "is not v1.2.3 of procfast/_version.py" in repository.refused("--tag", tag)
