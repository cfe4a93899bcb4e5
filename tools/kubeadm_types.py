"""Derives the form of kubeadm's configuration from the Go modules that define it.

::

    python tools/kubeadm_types.py            write ohmykube/config/data/kubeadm-<minor>.json
    python tools/kubeadm_types.py --check    tell whether they are what the modules say today

Modules come by ``go mod download``, which compares them with Go's checksum database; one file for
each supported minor, from the patch that it stands for. A file maps each type that is reached from
the configuration to its fields, and each field to its type: ``string``, ``bool``, ``int``,
``float``, ``duration``, ``quantity``, ``any``, the name of another type, or ``list`` or ``map``
before one of these.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ohmykube.model import versions

TARGET = Path(__file__).parents[1] / "ohmykube/config/data"
PACKAGES = {
    "k8s.io/kubernetes": (
        "cmd/kubeadm/app/apis/kubeadm/v1beta4",
        "cmd/kubeadm/app/apis/bootstraptoken/v1",
    ),
    "k8s.io/kubelet": ("config/v1beta1",),
    "k8s.io/kube-proxy": ("config/v1alpha1",),
    "k8s.io/component-base": ("config/v1alpha1", "logs/api/v1", "tracing/api/v1"),
}
"""Directories of types, by module."""
ROOTS = (
    "ClusterConfiguration",
    "InitConfiguration",
    "JoinConfiguration",
    "KubeletConfiguration",
    "KubeProxyConfiguration",
)
SCALARS = {
    "string": "string",
    "bool": "bool",
    **dict.fromkeys(("int", "int32", "int64", "uint", "uint32", "uint64", "uint16"), "int"),
    **dict.fromkeys(("float32", "float64"), "float"),
    "Duration": "duration",
    "Time": "string",
    "PullPolicy": "string",
    "HostPathType": "string",
    "ResourceList": "map quantity",
    "QuantityValue": "quantity",
    "Quantity": "quantity",
    # These are read by functions of their own.
    "BootstrapTokenString": "string",
    "TimeOrMetaDuration": "any",
}
"""What types come to that are not taken apart, without their package."""
CORE = {
    "Taint": {"key": "string", "value": "string", "effect": "string", "timeAdded": "string"},
    "EnvVar": {"name": "string", "value": "string", "valueFrom": "any"},
    "TypeMeta": {"apiVersion": "string", "kind": "string"},
}
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
ALIAS = re.compile(r"^type (\w+) (=? ?[\w.\[\]]+)$", re.MULTILINE)
FIELD = re.compile(r"^\t(?:\w+\s+)?(\S+)\s+`[^`\n]*json:\"([^\"]*)\"[^`\n]*`", re.MULTILINE)
TAG = re.compile(r"^(?!\s*//).*json:\"", re.MULTILINE)


class Types:
    """Types of Go by name, as they stand in the source."""

    def __init__(self) -> None:
        self._structs: dict[str, list[tuple[str, str]]] = {}
        self._aliases: dict[str, str] = {}
        self.reached: dict[str, dict[str, str]] = {}

    def read(self, directory: Path) -> None:
        """Add the types of a package."""
        for path in sorted(directory.glob("*.go")):
            if path.name.endswith("_test.go") or path.name.startswith("zz_"):
                continue
            text = path.read_text()
            for name, body in STRUCT.findall(text):
                found = FIELD.findall(body)
                if len(found) != len(TAG.findall(body)):
                    raise ValueError(f"{path}: not all fields of {name} can be read")
                self._structs.setdefault(name, found)
            for name, of in ALIAS.findall(text):
                self._aliases.setdefault(name, of.removeprefix("= "))

    def resolve(self, written: str) -> str:
        """Return what a type of Go comes to in JSON; structs that are reached are taken along."""
        written = written.lstrip("*")
        name = written.rpartition(".")[2]
        if written == "[]byte" or name in SCALARS:
            return SCALARS.get(name, "string")
        if written.startswith("[]"):
            return f"list {self.resolve(written[2:])}"
        if found := re.fullmatch(r"map\[\w+\](.+)", written):
            return f"map {self.resolve(found[1])}"
        if name in CORE:
            self.reached[name] = CORE[name]
        elif name not in self._structs:
            return self.resolve(self._aliases[name])
        elif name not in self.reached:
            self.reached[name] = {}
            self.reached[name].update(self._fields(name))
        return name

    def _fields(self, struct: str) -> dict[str, str]:
        fields: dict[str, str] = {}
        for of, tag in self._structs[struct]:
            key, *options = tag.split(",")
            if "inline" in options or not key:
                name = of.rpartition(".")[2]
                fields |= CORE.get(name) or self._fields(name)
            elif key != "-":
                fields[key] = self.resolve(of)
        return fields


def derived(version: str) -> dict[str, Any]:
    """Return the content of the file for a version of Kubernetes."""
    types = Types()
    modules = {}
    for module, packages in PACKAGES.items():
        of = version if module == "k8s.io/kubernetes" else "0." + version.partition(".")[2]
        told = subprocess.run(
            ["go", "mod", "download", "-json", f"{module}@v{of}"],
            check=True,
            capture_output=True,
            text=True,
        )
        facts = json.loads(told.stdout)
        modules[f"{module}@v{of}"] = facts["Sum"]
        for directory in packages:
            types.read(Path(facts["Dir"]) / directory)
    for root in ROOTS:
        types.resolve(root)
    return {"modules": modules, "types": dict(sorted(types.reached.items()))}


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description="forms of kubeadm's configuration")
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    differ = []
    for minor, version in versions.PATCHES.items():
        path = TARGET / f"kubeadm-{minor}.json"
        text = json.dumps(derived(version), indent=1) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            differ.append(path.name)
        elif not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    for name in differ:
        print(f"{name} is not what the modules say: python tools/kubeadm_types.py", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
