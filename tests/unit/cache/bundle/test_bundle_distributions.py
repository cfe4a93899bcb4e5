"""The collection and the wheel as files of a bundle."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ohmykube.cache.bundle import distributions
from ohmykube.cache.store import Store
from ohmykube.errors import PrerequisiteError
from ohmykube.kit import paths

ROOT = paths.collections_root() / "ansible_collections/ohmykube/cluster"


def test_the_collection_is_what_galaxy_takes(tmp_path) -> None:
    name, version, data = distributions.collection(ROOT)
    assert name == f"ohmykube-cluster-{version}.tar.gz"
    assert distributions.collection(ROOT)[2] == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {m.name: m for m in archive.getmembers()}
        manifest = json.load(archive.extractfile("MANIFEST.json"))
        listed = archive.extractfile("FILES.json").read()
        assert manifest["file_manifest_file"]["chksum_sha256"] == hashlib.sha256(listed).hexdigest()
        assert manifest["collection_info"]["namespace"] == "ohmykube"
        for entry in json.loads(listed)["files"][1:]:
            assert members[entry["name"]].isdir() == (entry["ftype"] == "dir")
            if entry["ftype"] == "file":
                body = archive.extractfile(entry["name"]).read()
                assert hashlib.sha256(body).hexdigest() == entry["chksum_sha256"]
    assert "roles/containerd/tasks/main.yml" in members
    assert not [name for name in members if "__pycache__" in name or name.startswith("tests")]
    assert {m.mtime for m in members.values()} == {0}


def test_ansible_galaxy_installs_it(tmp_path) -> None:
    name, _, data = distributions.collection(ROOT)
    (tmp_path / name).write_bytes(data)
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "there")}
    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    subprocess.run(
        [galaxy, "collection", "install", "--offline", str(tmp_path / name), "-p",
         str(tmp_path / "there")],
        check=True, capture_output=True, env=env, timeout=120,
    )  # fmt: skip
    assert (tmp_path / "there/ansible_collections/ohmykube/cluster/MANIFEST.json").is_file()


def test_no_collection(tmp_path) -> None:
    with pytest.raises(PrerequisiteError, match="is not where it should be"):
        distributions.collection(tmp_path)


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A distribution as an installer leaves it, and its directory."""
    monkeypatch.syspath_prepend(str(tmp_path))
    info = tmp_path / "made_up-1.2.dist-info"
    files = {
        "made_up/__init__.py": "print()\n",
        "made_up-1.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: made-up\nVersion: 1.2\n",
        "made_up-1.2.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    lines = []
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        lines.append(f"{name},sha256={distributions._sum(text.encode())},{len(text)}")
    (info / "INSTALLER").write_text("pip\n")
    (tmp_path / "made_up/__pycache__").mkdir()
    (tmp_path / "made_up/__pycache__/x.pyc").write_text("")
    more = ["../bin/made-up,,", "made_up/__pycache__/x.pyc,,", f"{info.name}/INSTALLER,,"]
    (info / "RECORD").write_text("\n".join([*lines, *more, f"{info.name}/RECORD,,"]) + "\n")
    return tmp_path


def test_the_wheel_of_an_installation(installed, tmp_path) -> None:
    name, version, data = distributions.wheel("made-up")
    assert (name, version) == ("made_up-1.2-py3-none-any.whl", "1.2")
    assert distributions.wheel("made-up")[2] == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [
            "made_up/__init__.py",
            "made_up-1.2.dist-info/METADATA",
            "made_up-1.2.dist-info/RECORD",
            "made_up-1.2.dist-info/WHEEL",
        ]
        assert (
            "made_up/__init__.py,sha256=" in archive.read("made_up-1.2.dist-info/RECORD").decode()
        )
    (tmp_path / name).write_bytes(data)
    target = tmp_path / "target"
    argv = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not in this environment")
    subprocess.run(
        [*argv, "--target", str(target), str(tmp_path / name)], check=True, timeout=120,
        capture_output=True,
    )  # fmt: skip
    assert (target / "made_up/__init__.py").read_text() == "print()\n"


def test_why_there_is_no_wheel(installed) -> None:
    assert "is not installed" in distributions.wheel("no-such-thing-here")
    (installed / "made_up/__init__.py").write_text("changed\n")
    assert "were changed, such as made_up/__init__.py" in distributions.wheel("made-up")
    record = installed / "made_up-1.2.dist-info/RECORD"
    record.write_text(
        "".join(x for x in record.read_text().splitlines(keepends=True) if "__init__" not in x)
    )
    assert "editable" in distributions.wheel("made-up")


def test_as_a_reference(tmp_path) -> None:
    store = Store(tmp_path / "cache")
    ref = distributions.stored(store, ("x-1.whl", "1", b"data"))
    assert store.ref(*ref.key).digest == ref.digest
    assert ref.arch == "noarch"
