"""The go client on modules of a proxy of ours: what a component's own go.mod says is what is built.

Each program prints which modules it was linked from, so a build shows what the go client chose.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ohmykube.cache import chart
from ohmykube.cache.catalog import GoRecipe, ModuleFile
from ohmykube.cache.sources import module_files, toolchain
from ohmykube.cache.sources.gobuild import Builder
from ohmykube.cache.store import Store
from ohmykube.errors import IntegrityError, NetworkError
from ohmykube.kit import digest
from ohmykube.progress import NullReporter
from tests.module_proxy import ModuleProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.build

APP, LIB, FORK, OTHER = "app.test/app", "lib.test/lib", "fork.test/lib", "other.test/other"
MAIN = f"""package main

import (
	"fmt"

	"{LIB}"
)

func main() {{ fmt.Print(lib.Name) }}
"""
REQUIRES_LIB = f"module {APP}\n\ngo 1.21\n\nrequire {LIB} v1.0.0\n"


def library(name: str, go_mod: str = "", imports: str = "") -> dict[str, str]:
    """Return a module with a package ``lib`` that says ``name``."""
    source = f'package lib\n\n{imports}\nconst Name = "{name}"\n'
    return {"lib.go": source} | ({"go.mod": go_mod} if go_mod else {})


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleProxy]:
    """Give the only proxy that the go client knows, with a library and a fork of it."""
    found = ModuleProxy(tmp_path / "proxy")
    monkeypatch.setenv("GOPROXY", found.url)
    monkeypatch.setenv("GOSUMDB", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    found.publish(LIB, "v1.0.0", library("lib 1.0.0"))
    found.publish(LIB, "v1.1.0", library("lib 1.1.0"))
    found.publish(FORK, "v1.0.1", library("fork 1.0.1", go_mod=f"module {LIB}\n"))
    yield found
    toolchain._go_facts.cache_clear()  # other tests have another checksum database


def app(
    proxy: ModuleProxy, go_mod: str, sums: str, version: str = "v1.0.0", **more: str
) -> GoRecipe:
    """Publish the program with a go.mod and a go.sum, and return how it is built."""
    files = {"go.mod": go_mod, "go.sum": sums, "main.go": MAIN}
    files |= {name.replace("__", "/").replace("_", "."): text for name, text in more.items()}
    sum_ = proxy.publish(APP, version, {name: text for name, text in files.items() if text})
    return GoRecipe(module=APP, version=version, sum=sum_, packages={"app": APP}, go="1.21")


def built(recipe: GoRecipe, cache: Path) -> Path:
    return Builder(Store(cache), NullReporter()).binaries(recipe, toolchain.go().arch)["app"]


def says(recipe: GoRecipe, tmp_path: Path) -> str:
    """Build a program and return what it prints."""
    program = tmp_path / "program"
    program.write_bytes(built(recipe, tmp_path / "cache").read_bytes())
    program.chmod(0o755)
    return subprocess.run([program], check=True, capture_output=True, text=True, timeout=60).stdout


FORKED = f"{REQUIRES_LIB}\nreplace {LIB} => {FORK} v1.0.1\n"


def test_a_fork_that_the_component_names_is_linked(proxy: ModuleProxy, tmp_path: Path) -> None:
    recipe = app(proxy, FORKED, proxy.sums(FORK, "v1.0.1"))
    assert says(recipe, tmp_path) == "fork 1.0.1"
    again = built(recipe, tmp_path / "a much longer name for another place")
    assert again.name == built(recipe, tmp_path / "cache").name  # a blob is named by its digest


def test_without_lines_of_its_own_the_required_version_is_linked(
    proxy: ModuleProxy, tmp_path: Path
) -> None:
    assert says(app(proxy, REQUIRES_LIB, proxy.sums(LIB, "v1.0.0")), tmp_path) == "lib 1.0.0"


@pytest.mark.parametrize(
    ("release", "exclude", "expected"),
    [
        # In a go.mod this old not all versions are named: those of all dependencies count.
        ("1.16", "", "lib 1.1.0"),
        ("1.16", f"exclude {LIB} v1.1.0\n", "lib 1.0.0"),
        ("1.21", f"exclude {LIB} v1.1.0\n", "lib 1.0.0"),
    ],
)
def test_an_excluded_version_is_not_chosen(
    proxy: ModuleProxy, tmp_path: Path, release: str, exclude: str, expected: str
) -> None:
    wants = f"module {OTHER}\n\ngo 1.16\n\nrequire {LIB} v1.1.0\n"
    proxy.publish(OTHER, "v1.0.0", {"go.mod": wants, "other.go": "package other\n"})
    sums = "".join(
        proxy.sums(module, version)
        for module, version in ((LIB, "v1.0.0"), (LIB, "v1.1.0"), (OTHER, "v1.0.0"))
    )
    requires = REQUIRES_LIB.replace("go 1.21", f"go {release}")
    go_mod = f"{requires}require {OTHER} v1.0.0\n{exclude}"
    extra = f'package main\n\nimport _ "{OTHER}"\n'
    assert says(app(proxy, go_mod, sums, extra_go=extra), tmp_path) == expected


def test_a_sum_that_the_component_does_not_know_is_refused(
    proxy: ModuleProxy, tmp_path: Path
) -> None:
    theirs = proxy.sums(FORK, "v1.0.1")
    proxy.publish(FORK, "v1.0.1", library("evil", go_mod=f"module {LIB}\n"))
    with pytest.raises(IntegrityError) as caught:
        built(app(proxy, FORKED, theirs), tmp_path / "cache")
    assert caught.value.id == "OMK-I-205"
    assert "checksum mismatch" in (caught.value.why or "")
    assert FORK in (caught.value.why or "")


def test_a_sum_that_the_component_leaves_out_is_not_made_up(
    proxy: ModuleProxy, tmp_path: Path
) -> None:
    with pytest.raises(NetworkError) as caught:
        built(app(proxy, FORKED, proxy.sums(LIB, "v1.0.0")), tmp_path / "cache")
    assert caught.value.id == "OMK-I-208"
    assert "missing go.sum entry" in (caught.value.why or "")


def test_a_component_without_go_sum_is_built(proxy: ModuleProxy, tmp_path: Path) -> None:
    assert says(app(proxy, FORKED, ""), tmp_path) == "fork 1.0.1"


def test_a_go_mod_that_misses_a_requirement_is_refused(proxy: ModuleProxy, tmp_path: Path) -> None:
    go_mod = f"module {APP}\n\ngo 1.21\n\nexclude {LIB} v1.1.0\n"
    with pytest.raises(NetworkError) as caught:
        built(app(proxy, go_mod, proxy.sums(LIB, "v1.0.0")), tmp_path / "cache")
    assert caught.value.id == "OMK-I-208"
    assert LIB in (caught.value.why or "")


def test_a_directory_is_taken_as_released_with_the_component_or_as_the_recipe_says(
    proxy: ModuleProxy, tmp_path: Path
) -> None:
    released = app(proxy, f"{REQUIRES_LIB}\nreplace {LIB} => ./lib\n", "")
    assert says(released, tmp_path / "one") == "lib 1.0.0"
    older = f"module {APP}\n\ngo 1.21\n\nrequire {LIB} v0.9.0\n\nreplace {LIB} => ./lib\n"
    refused = app(proxy, older, proxy.sums(FORK, "v1.0.1"), "v1.0.1")
    with pytest.raises(NetworkError, match="cannot be built from Go modules"):
        built(refused, tmp_path / "two")
    assert says(replace(refused, replace={LIB: f"{LIB}@v1.1.0"}), tmp_path / "two") == "lib 1.1.0"


def test_a_retracted_version_and_leftovers_of_vendoring_are_no_hindrance(
    proxy: ModuleProxy, tmp_path: Path
) -> None:
    recipe = app(
        proxy,
        f"{FORKED}\nretract v1.0.0 // published too early\n",
        proxy.sums(FORK, "v1.0.1"),
        vendor__modules_txt=f"# {LIB} v1.1.0\n## explicit\n{LIB}\n",
    )
    assert says(recipe, tmp_path) == "fork 1.0.1"


def test_a_proxy_that_gives_another_go_mod_is_found_out(proxy: ModuleProxy, tmp_path: Path) -> None:
    recipe = app(proxy, FORKED, proxy.sums(FORK, "v1.0.1"))
    path = proxy.directory / APP / "@v" / "v1.0.0.mod"
    path.write_text(FORKED.replace(FORK, LIB).replace("v1.0.1", "v1.1.0"))
    with pytest.raises(IntegrityError, match=r"go\.mod of app\.test/app@v1\.0\.0"):
        built(recipe, tmp_path / "cache")


# -- files ---------------------------------------------------------------------------------------


def test_files_and_charts_come_out_of_a_module_and_stay(
    proxy: ModuleProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"Chart.yaml": "name: app\n", "templates/a.yaml": "a: 1\n"}
    files = {f"charts/app/{name}": text for name, text in content.items()}
    sum_ = proxy.publish(APP, "v1.0.0", files)
    packed = chart.archive("app", {name: text.encode() for name, text in content.items()})
    wanted = ModuleFile(
        module=APP,
        version="v1.0.0",
        sum=sum_,
        path="charts/app",
        digest=digest.of_bytes(packed),
    )
    store = Store(tmp_path / "cache")
    assert module_files.take(wanted, store, NullReporter()).read_bytes() == packed
    single = replace(wanted, path="charts/app/Chart.yaml", digest=digest.of_bytes(b"name: app\n"))
    module_files.take(single, store, NullReporter())
    monkeypatch.setenv("GOPROXY", "off")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "empty"))
    assert module_files.take(wanted, store, NullReporter()).read_bytes() == packed
    with pytest.raises(NetworkError):
        module_files.take(wanted, Store(tmp_path / "another cache"), NullReporter())
