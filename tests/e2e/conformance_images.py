"""Images of upstream's conformance tests, made from Go modules and Debian packages.

Upstream's registry is not needed: the programs are built from the Kubernetes module
of the cluster's version, whose staging modules are taken as they were released, as all components
of a cluster are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from ohmykube.addons import selection
from ohmykube.cache.catalog import GoRecipe
from ohmykube.cache.sources import go_mod
from ohmykube.config import load
from ohmykube.config.overrides import Overrides
from ohmykube.kit import digest
from tests import image_maker

MODULE = "k8s.io/kubernetes"
TESTS, RUNNER = "e2e.test", "kubeconformance"
_BINARIES = "usr/local/bin"
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
OWN_FILES = ("localhost.crt", "localhost.key")
"""Of agnhost, at the root of its image: what it serves TLS with."""
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
    for name in OWN_FILES:
        shutil.copyfile(Path(told["Dir"]) / "test/images/agnhost/porter" / name, out / name)
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


def archives(version: str, cache: Path) -> dict[str, Path]:
    """Return an archive for each image, by its name; made once for this version and this file."""
    key = digest.of_bytes(Path(__file__).read_bytes()).removeprefix("sha256:")[:12]
    directory = cache / f"conformance-{version}-{key}"
    directory.mkdir(parents=True, exist_ok=True)
    out, system, made = build(version, directory), _system(directory), {}
    for name, program in names(out, f"registry.k8s.io/conformance:v{version}").items():
        target = directory / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
        if not target.exists():
            files = image_maker.tar(_files(directory, out, program), mode=0o755)
            run, words = [f"/{_BINARIES}/{RUNNER}"], ()
            if program == AGNHOST:
                run, words = [f"/{AGNHOST}"], ("pause",)
            image = image_maker.of_tars(system.read_bytes(), files, run=run, words=words)
            target.write_bytes(image_maker.oci_archive(image, name))
        made[name] = target
    return made


def _system(directory: Path) -> Path:
    """Return a tar of Debian packages, unpacked and not installed."""
    system, half = directory / "system.tar", directory / "system.half.tar"
    if not system.exists():
        argv = ["mmdebstrap", "--variant=extract", f"--include={','.join(PACKAGES)}", SUITE]
        subprocess.run([*argv, str(half)], check=True, env={**os.environ, "LC_ALL": "C"})
        half.rename(system)
    return system


def _files(directory: Path, out: Path, program: str) -> dict[str, bytes]:
    """Return what an image has besides packages."""
    if program != AGNHOST:
        return {f"{_BINARIES}/{name}": (out / name).read_bytes() for name in (TESTS, *PROGRAMS)}
    # What Debian makes by a script of the package: specs call it by this name.
    with tarfile.open(_system(directory)) as archive:
        netcat = archive.extractfile("./usr/bin/nc.openbsd")
        assert netcat is not None
        found = {"usr/bin/nc": netcat.read()}
    return found | {name: (out / name).read_bytes() for name in (AGNHOST, *OWN_FILES)}


def _go(directory: Path, *words: str) -> str:
    env = {**os.environ, "CGO_ENABLED": "0"}
    return subprocess.run(
        ["go", *words], cwd=directory, env=env, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
