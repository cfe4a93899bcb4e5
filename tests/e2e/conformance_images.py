"""Images of upstream's conformance tests, made from Go modules and Debian packages.

Upstream's registry is not needed: the programs are built from the Kubernetes module
of the cluster's version, whose staging modules are taken as they were released, as all components
of a cluster are.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.cache.catalog import GoRecipe
from ohmykube.cache.sources import go_mod
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from tests import image_maker

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "k8s.io/kubernetes"
TESTS, RUNNER = "e2e.test", "kubeconformance"
AGNHOST = "agnhost"
PROGRAMS = {
    AGNHOST: f"{MODULE}/test/images/agnhost",
    RUNNER: f"{MODULE}/test/conformance/image/go-runner",
    "ginkgo": "github.com/onsi/ginkgo/v2/ginkgo",
    "kubectl": f"{MODULE}/cmd/kubectl",
}
"""Besides the tests themselves, by what they are called in images."""
PACKAGES = (
    *("bash", "bind9-dnsutils", "busybox", "ca-certificates", "coreutils", "curl", "dash"),
    *("grep", "iproute2", "iptables", "libc-bin", "netcat-openbsd", "procps", "sed"),
)
"""What specs call in pods, and shells for it."""
SUITE = "trixie"
OF_AGNHOST = ("agnhost", "glibc-dns-testing", "busybox")
"""Images whose part agnhost's plays: what specs of the network run in them it has."""


def recipe(version: str) -> GoRecipe:
    """Return how Kubernetes is built."""
    cluster = load.from_overrides(Overrides(name="any", kubernetes_version=version))
    recipes = [component.recipe for component in selection.release_of(cluster).components]
    return next(one for one in recipes if isinstance(one, GoRecipe) and one.module == MODULE)


def build(version: str, directory: Path) -> Path:
    """Build all programs into a directory, once; return it."""
    out, module = directory / "bin", directory / "module"
    done = directory / "built"
    if done.exists():
        return out
    module.mkdir(parents=True, exist_ok=True)
    out.mkdir(exist_ok=True)
    found = recipe(version)
    told = json.loads(_go(directory, "mod", "download", "-json", f"{MODULE}@{found.version}"))
    theirs = json.loads(_go(directory, "mod", "edit", "-json", told["GoMod"]))
    release = _go(directory, "env", "GOVERSION").strip().removeprefix("go")
    (module / "go.mod").write_text(go_mod.build_module(found, theirs, release).go_mod)
    flags = ["-mod=mod", "-trimpath", f"-ldflags=-s -w {found.ldflags}".strip()]
    # Vetting them is upstream's, and takes as long as the compiling.
    _go(module, "test", "-c", "-vet=off", *flags, "-o", str(out / TESTS), f"{MODULE}/test/e2e")
    for name, package in PROGRAMS.items():
        _go(module, "build", *flags, "-o", str(out / name), package)
    done.touch()
    return out


def names(out: Path, runner: str) -> dict[str, str]:
    """Return the names that images must have, by those of the programs they run."""
    listed = subprocess.run(
        [str(out / TESTS), "--list-images"], capture_output=True, text=True, check=True
    ).stdout.split()
    wanted = [
        name
        for name in listed
        if name.startswith("registry.k8s.io/")
        and name.rpartition(":")[0].rpartition("/")[2] in OF_AGNHOST
    ]
    return {runner: RUNNER, **dict.fromkeys(wanted, AGNHOST)}


def archives(version: str, directory: Path) -> dict[str, Path]:
    """Return an archive for each image, by its name; made once."""
    out = build(version, directory)
    system = directory / "system.tar"
    if not system.exists():
        half = directory / "system.half.tar"
        argv = ["mmdebstrap", "--variant=extract", f"--include={','.join(PACKAGES)}", SUITE]
        subprocess.run([*argv, str(half)], check=True, env={**os.environ, "LC_ALL": "C"})
        half.rename(system)
    content, made = system.read_bytes(), {}
    # What Debian makes by a script of the package: specs call it by this name.
    with tarfile.open(system) as archive:
        netcat = archive.extractfile("./usr/bin/nc.openbsd")
        assert netcat is not None
        own = {"usr/bin/nc": netcat.read()}
    for name, program in names(out, f"registry.k8s.io/conformance:v{version}").items():
        target = directory / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
        if not target.exists():
            inside = [AGNHOST] if program == AGNHOST else [TESTS, *PROGRAMS]
            files = own | {
                # Where upstream's has it: specs call it by this path.
                (name if name == AGNHOST else f"usr/local/bin/{name}"): (out / name).read_bytes()
                for name in inside
            }
            run = ["/agnhost"] if program == AGNHOST else [f"/usr/local/bin/{RUNNER}"]
            words = ("pause",) if program == AGNHOST else ()
            image = image_maker.of_tars(
                content, image_maker.tar(files, mode=0o755), run=run, words=words
            )
            target.write_bytes(image_maker.oci_archive(image, name))
        made[name] = target
    return made


def _go(directory: Path, *words: str) -> str:
    env = {**os.environ, "CGO_ENABLED": "0"}
    return subprocess.run(
        ["go", *words], cwd=directory, env=env, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
