from __future__ import annotations

import hashlib
import io
import os
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmykube.errors import NotFoundError, PrerequisiteError
from ohmykube.kit import architecture, digest, entrypoints, excerpt, paths, shell
from ohmykube.kit.secret import Secret

GROUP = "ohmykube.test_group"


@given(st.text(st.characters(exclude_characters="\0")))
def test_a_shell_reads_a_word_as_it_was(text: str) -> None:
    assert shlex.split(shell.word(text)) == [text]
    assert shell.word(Path("/usr/lib/x-1.so")) == "/usr/lib/x-1.so"


@given(st.binary(max_size=5000))
def test_all_ways_give_the_same_digest(data: bytes) -> None:
    target = io.BytesIO()
    expected = "sha256:" + hashlib.sha256(data).hexdigest()
    assert digest.of_bytes(data) == expected
    assert digest.copy(io.BytesIO(data), target) == (expected, len(data))
    assert target.getvalue() == data
    assert digest.is_digest(expected)


def test_digest_of_a_file_and_of_more_than_a_chunk(tmp_path: Path) -> None:
    data = b"x" * (digest.CHUNK + 1)
    (tmp_path / "file").write_bytes(data)
    assert digest.of_file(tmp_path / "file") == digest.of_bytes(data)
    assert digest.copy(io.BytesIO(data), io.BytesIO())[1] == len(data)
    with pytest.raises(FileNotFoundError):
        digest.of_file(tmp_path / "absent")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "a" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 63,
        "md5:" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        " sha256:" + "a" * 64,
    ],
)
def test_what_is_no_digest(text: str) -> None:
    assert not digest.is_digest(text)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r} {secret!s} {[secret]} {('x', secret)}"
    assert "hunter2" not in shown
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("other")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2")}) == 1


def test_home_moves_everything() -> None:
    found = paths.from_environment({"OHMYKUBE_HOME": "/x", "HOME": "/h", "XDG_DATA_HOME": "/y"})
    assert found == paths.Paths(
        state=Path("/x/state"), data=Path("/x/data"), cache=Path("/x/cache")
    )


def test_the_cache_moves_alone() -> None:
    found = paths.from_environment({"OHMYKUBE_HOME": "/x", "OHMYKUBE_CACHE_DIR": "/c"})
    assert (found.state, found.cache) == (Path("/x/state"), Path("/c"))


def test_relative_homes_become_absolute() -> None:
    found = paths.from_environment({"OHMYKUBE_HOME": "here", "OHMYKUBE_CACHE_DIR": "there"})
    assert found.state == Path.cwd() / "here" / "state"
    assert found.cache == Path.cwd() / "there"
    assert paths.from_environment({"HOME": "h"}).state.is_absolute()


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert paths.from_environment({"OHMYKUBE_HOME": "~/omk"}).state == Path("/h/omk/state")


@pytest.mark.skipif(sys.platform != "linux", reason="XDG is Linux")
def test_xdg_directories_and_their_defaults() -> None:
    assert paths.from_environment({"HOME": "/h"}) == paths.Paths(
        state=Path("/h/.local/state/ohmykube"),
        data=Path("/h/.local/share/ohmykube"),
        cache=Path("/h/.cache/ohmykube"),
    )
    env = {"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_DATA_HOME": "rel", "XDG_CACHE_HOME": ""}
    assert paths.from_environment(env) == paths.Paths(
        state=Path("/s/ohmykube"),
        data=Path("/h/.local/share/ohmykube"),
        cache=Path("/h/.cache/ohmykube"),
    )


def test_the_real_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHMYKUBE_HOME", "/real")
    assert paths.from_environment().state == Path("/real/state")


def test_a_checkout_uses_its_own_collection_and_templates() -> None:
    root = Path(paths.__file__).resolve().parents[2]
    assert paths.collections_root() == root / "collections"
    assert paths.inventory_templates() == root / "inventory_templates"
    assert (paths.collections_root() / "ansible_collections/ohmykube/cluster/galaxy.yml").is_file()


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution with a good plugin and three broken ones."""
    info = tmp_path / "sample_plugin-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample-plugin\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nzulu = sample_plugin:VALUE\nalpha = sample_plugin:absent\n"
        "broken = sample_broken:VALUE\ngone = sample_gone:VALUE\n"
    )
    (tmp_path / "sample_plugin.py").write_text("VALUE = 42\n")
    (tmp_path / "sample_broken.py").write_text("VALUE = = 42\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("plugins")
def test_plugins_are_listed_without_import_and_loaded_by_name() -> None:
    assert entrypoints.names(GROUP) == ("alpha", "broken", "gone", "zulu")
    assert "sample_plugin" not in sys.modules
    assert entrypoints.load(GROUP, "zulu") == 42


def test_what_is_installed_is_found_in_directories_and_archives(
    plugins: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = "ohmykube.test_archives"
    monkeypatch.syspath_prepend(tmp_path / "absent")
    assert entrypoints.installed(group) == ()
    assert [str(one.source) for one in entrypoints.installed(GROUP)] == ["sample-plugin 1.2"] * 4
    with zipfile.ZipFile(tmp_path / "egg.zip", "w") as archive:
        archive.writestr("EGG-INFO/PKG-INFO", "Metadata-Version: 2.1\nName: egg\nVersion: 3\n")
        archive.writestr("EGG-INFO/entry_points.txt", f"[{group}]\nx = egg:x\n")
    (tmp_path / "egg.zip").rename(tmp_path / "sample.egg")
    monkeypatch.syspath_prepend(tmp_path / "sample.egg")
    assert entrypoints.installed(group) == (entrypoints.Plugin("x", "egg 3"),)


def test_what_is_installed_or_removed_meanwhile_counts(plugins: None, tmp_path: Path) -> None:
    """Packages are read once, and again when there are others."""
    before = entrypoints.names(GROUP)
    assert entrypoints._points(GROUP) is entrypoints._points(GROUP)
    info = tmp_path / "later-1.dist-info"
    for number, name in enumerate(("later", "latest"), 1):
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = sample_plugin:VALUE\n")
        os.utime(tmp_path, ns=(0, 2 * number))  # as a clock says it that is not too coarse
        assert entrypoints.names(GROUP) == tuple(sorted((*before, name)))
        shutil.rmtree(info)
        os.utime(tmp_path, ns=(0, 2 * number + 1))
        assert entrypoints.names(GROUP) == before


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("name", ["alpha", "broken", "gone"])
def test_a_broken_plugin_is_blamed_by_name(name: str) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        entrypoints.load(GROUP, name)
    assert caught.value.message == f'plugin "{name}" of sample-plugin 1.2 cannot be loaded'
    assert caught.value.hint == "pip install --force-reinstall sample-plugin"


def test_an_absent_plugin_names_those_that_are_there() -> None:
    with pytest.raises(NotFoundError, match='there is no plugin "x"') as caught:
        entrypoints.load("ohmykube.providers", "x")
    assert "nspawn" in str(caught.value.why)
    with pytest.raises(NotFoundError) as caught:
        entrypoints.load("ohmykube.no_such_group", "x")
    assert caught.value.why == "installed: none"


def test_the_architecture_has_gos_name() -> None:
    assert architecture.host() in {"amd64", "arm64", "arm", "386", "riscv64"} or (
        architecture.host() == os.uname().machine
    )


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("x86_64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64"), ("AMD64", "amd64")],
)
def test_the_kernel_and_go_name_one_architecture(machine: str, arch: str) -> None:
    assert architecture.go_name(machine) == arch
    assert architecture.go_name(architecture.kernel_name(arch)) == arch


def test_an_architecture_that_is_not_known_keeps_its_name() -> None:
    assert (architecture.go_name("riscv64"), architecture.kernel_name("riscv64")) == (
        "riscv64",
    ) * 2


@given(st.text(max_size=60), st.integers(8, 50))
def test_of_a_long_text_both_ends_are_kept(text: str, longest: int) -> None:
    short = excerpt.both_ends(text, longest)
    assert len(short) <= longest
    assert short == text or (text.startswith(short[:2]) and text.endswith(short[-3:]))


@given(st.lists(st.text(max_size=3), max_size=9), st.integers(2, 6))
def test_of_many_lines_the_first_and_the_last_are_kept(lines: list[str], most: int) -> None:
    kept = excerpt.first_and_last(lines, most)
    assert len(kept) == min(len(lines), most)
    assert kept[:1] == lines[:1]
    assert kept[1:] == lines[len(lines) - len(kept) + 1 :]
