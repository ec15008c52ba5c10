"""The workflows of .github: valid, minimal in what they may do, and right about this tree."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCHEMAS = ("vendor.github-workflows", "custom.github-workflows-require-timeout")


def schema(*paths):
    """What check-jsonschema says against those files, by both of its schemas."""
    said = ""
    for name in SCHEMAS:
        command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", name]
        done = subprocess.run([*command, *paths], capture_output=True, text=True)
        said += done.stdout * bool(done.returncode)
    return said


def zizmor(path):
    """Its findings, by name."""
    command = [Path(sys.executable).with_name("zizmor"), "--offline", "--no-ignores"]
    command += ["--persona=pedantic", "--no-progress", "--quiet", "--format=json-v1"]
    done = subprocess.run([*command, path], capture_output=True, text=True)
    return {finding["ident"] for finding in json.loads(done.stdout)}


@pytest.fixture(scope="module", params=WORKFLOWS, ids=lambda path: path.name)
def workflow(request):
    return YAML(typ="safe").load(request.param)


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_all_are_here():
    assert {path.stem for path in WORKFLOWS} == {"ci", "sanitizers", "soak", "wheels"}


def test_valid():
    assert schema(*WORKFLOWS) == ""


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_finding(path):
    assert zizmor(path) == set()


PLANTED = {
    "misspelt": (r"runs-on:", "runz-on:", "runz-on"),
    "no limit": (r" +timeout-minutes: .*\n", "", "timeout-minutes"),
    "unpinned": (r"@[0-9a-f]{40}", "@v7", "unpinned-uses"),
    "credentials": (r"persist-credentials: false", "fetch-depth: 1", "artipacked"),
    "rights": (r"permissions: \{\}", "permissions: write-all", "excessive-permissions"),
    "injection": (r"run: \.ci/run", "run: echo ${{ github.head_ref }}", "template-injection"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_planted(tmp_path, fault):
    """What the checks are for is found."""
    pattern, replacement, told = PLANTED[fault]
    text, count = re.subn(pattern, replacement, (ROOT / ".github/workflows/ci.yml").read_text())
    assert count
    (tmp_path / ".github/workflows").mkdir(parents=True)
    path = tmp_path / ".github/workflows/ci.yml"
    path.write_text(text)
    said = schema(path)
    assert told in (said or zizmor(path))


def test_one_commit_for_each_action():
    """Pinned alike everywhere, each with the version that its hash is said to be."""
    text = "".join(path.read_text() for path in WORKFLOWS)
    uses = re.findall(r"uses: (.*)", text)
    assert uses and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one) for one in uses)
    assert len(set(uses)) == len({one.partition("@")[0] for one in uses})


def test_rights(workflow):
    """None by default; a job reads, or publishes, and never both."""
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["permissions"] in ({}, {"contents": "read"}) or name == "publish"


def test_only_a_tag_publishes():
    jobs = YAML(typ="safe").load(ROOT / ".github/workflows/wheels.yml")["jobs"]
    publish = jobs["publish"]
    assert publish["if"] == "github.event_name == 'push' && github.ref_type == 'tag'"
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]["name"] == "pypi"
    assert publish["needs"] == "check"
    assert set(jobs["check"]["needs"]) == jobs.keys() - {"check", "publish"}


def test_commands_exist(workflow):
    """Each file, make target and switch that a step names is one of this tree."""
    makefiles = {folder: (ROOT / folder / "Makefile").read_text() for folder in (".", "csrc")}
    for step in steps(workflow):
        command = step.get("run", "")
        for name in re.findall(r"(?<![\w/])(?:\.ci|tools|tests)/[\w./]+", command):
            assert (ROOT / name).is_file(), name
        for folder, words in re.findall(r"\bmake (?:-C (\w+) )?(.*)", command):
            for word in words.split():
                target, is_variable, _ = word.partition("=")
                pattern = rf"\b{target}\b" if is_variable else rf"(?m)^{target}:"
                assert re.search(pattern, makefiles[folder or "."]), word
