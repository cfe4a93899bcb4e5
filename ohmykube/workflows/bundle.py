"""Bundles: write one for a description, look into one, check one, bring one into the cache."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.cache import resolve
from ohmykube.cache.bundle import (
    contents,
    distributions,
    import_bundle,
    machine_base,
    read,
    sign,
    write,
)
from ohmykube.cache.store import Store
from ohmykube.errors import NotFoundError
from ohmykube.kit import amounts, paths, process
from ohmykube.model.artifact import Kind
from ohmykube.progress import Message, item
from ohmykube.providers.base import Portable
from ohmykube.steps.proxy_urls import with_proxy
from ohmykube.steps.registry_logins import with_logins
from ohmykube.steps.resolve import RESOLVE
from ohmykube.steps.step import Step
from ohmykube.workflows import session

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ohmykube.cache.bundle.document import Role
    from ohmykube.cache.store import Ref
    from ohmykube.model.artifact import ArtifactLock
    from ohmykube.model.cluster import Cluster
    from ohmykube.steps.context import Services

SUFFIX = ".omk.tar"
WRITE_BUNDLE = Step("write-bundle", "Write the bundle")
_COLLECTION = Path("ansible_collections/ohmykube/cluster")
_BUILD_SECONDS = 300.0
_UNSAID = re.compile(r"[^ -~]")
"""What texts in a bundle's list cannot hold; a file may be called anything."""
_LONGEST_NAME = 200
_LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOptions:
    """How to write a bundle."""

    target: Path | None = None
    """The file; None: named after the cluster, here."""
    since: Path | None = None
    """An older bundle, whose blobs are left out."""
    split: int = 0
    """Bytes of a part at most; 0 for one file."""
    key: Path | None = None
    """Sign with this OpenSSH key."""
    images: tuple[str, ...] = ()
    """Further images of the cache, by their full reference."""
    architectures: tuple[str, ...] = ()
    """Of the nodes; none for this host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What is known about a bundle."""

    archive: read.Archive
    hashed: bool
    """Whether every blob was hashed; else only the frame and the documents were checked."""
    signed: bool
    signer: str
    """Who signed, when allowed signers were demanded."""
    key: str
    """The key that made a right signature, whoever has it."""


def create(services: Services, cluster: Cluster, options: CreateOptions) -> write.Written:
    """Write a bundle with all that clusters of this description need; get first what lacks.

    Raises:
        ConfigError: the proxy or a login that the description names is not to be found.
        NotFoundError: the key, the older bundle or an image is not there.
        NetworkError, IntegrityError, PrerequisiteError, ProviderError: something cannot be got.
        ResourceError: no space left.
    """
    store, reporter = Store(services.paths.cache), services.reporter
    cluster = with_proxy(with_logins(cluster))
    older = read.load(options.since) if options.since else None
    with contextlib.ExitStack() as stack:
        with RESOLVE.running(services) as result, store.using():
            # Nobody may prune between finding them and the lease.
            lock = resolve.resolve(
                cluster,
                selection.release_of(cluster),
                store,
                reporter,
                architectures=options.architectures,
                paths=services.paths,
            )
            wanted = contents.of_lock(store, lock)
            wanted += [(ref, "node") for ref in _images(store, options.images, lock.architectures)]
            found = [ref.digest for ref, _ in wanted]
            stack.enter_context(store.lease(f"bundle of {cluster.name}", found))
            result.detail = amounts.count(len(wanted), "artifact")
        with WRITE_BUNDLE.running(services):
            return _create(services, cluster, options, older=older, lock=lock, wanted=wanted)


def _create(
    services: Services,
    cluster: Cluster,
    options: CreateOptions,
    *,
    older: read.Archive | None,
    lock: ArtifactLock,
    wanted: list[tuple[Ref, Role]],
) -> write.Written:
    """Add what is not in the lock, and write the bundle."""
    store, reporter = Store(services.paths.cache), services.reporter
    provider = session.provider_of(services, cluster.provider, cluster)
    lacks = []
    if isinstance(provider, Portable):
        lacks += [_said(f"{part.name}: {part.needed}") for part in provider.own_parts()]
        if version := provider.base_version():
            with item(reporter, f"machine image {provider.name}", "pack"):
                arch = resolve.host_arch()  # machines are made on hosts such as this one
                base = machine_base.stored(
                    store, provider.name, version, arch, provider.export_base
                )
            wanted.append((base, "machine"))
    elif provider.capabilities.creates:
        lacks.append(f"the machine image: provider {provider.name} cannot hand it over")
    own, missing = _project(store)
    wanted += own
    lacks += missing
    for text in lacks:
        reporter.emit(Message(text=f"not in the bundle: {text}", level="warning"))
    arch = "+".join(lock.architectures)
    target = options.target or Path(
        f"{cluster.name}-k8s{cluster.kubernetes_version}-{arch}{SUFFIX}"
    )
    with store.lease(f"bundle {target.name}", [ref.digest for ref, _ in wanted]):
        refs = tuple(ref for ref, _ in wanted)
        made = contents.BundleContents(
            name=cluster.name,
            refs=refs,
            entries=contents.entries(store, wanted),
            components=contents.components(refs, selection.release_of(cluster)),
            kubernetes=cluster.kubernetes_version,
            arch=arch,
            provider=provider.name,
            lacks=tuple(lacks),
        )
        form = write.Form(since=older, split=options.split, key=options.key)
        return write.write(store, made, target, form, reporter)


def _said(text: str) -> str:
    """Return what a bundle's list can hold of a text with somebody's paths in it."""
    return _UNSAID.sub("_", text)[:_LONGEST_TEXT]


def _images(store: Store, names: Sequence[str], architectures: Sequence[str]) -> Iterable[Ref]:
    known: dict[str, list[Ref]] = {}
    for ref in store.refs():
        if ref.kind is Kind.IMAGE and ref.arch in architectures:
            known.setdefault(ref.name, []).append(ref)
    missing = [name for name in names if name not in known]
    if missing:
        raise NotFoundError(
            f"not in the cache: {', '.join(missing)}",
            why="--image takes images that the cache has, by their full reference",
            hint="ohmykube cache ls",
            id="OMK-I-451",
        )
    return [ref for name in names for ref in known[name]]


def _project(store: Store) -> tuple[list[tuple[Ref, Role]], list[str]]:
    """Return the references of the collection and the wheel, and what cannot be had."""
    root = paths.collections_root() / _COLLECTION
    found: list[tuple[Ref, Role]] = [
        (distributions.stored(store, distributions.collection(root)), "host")
    ]
    wheel = distributions.wheel()
    if isinstance(wheel, str):
        wheel = _built(root) or wheel
    if isinstance(wheel, str):
        return found, [wheel]
    return [*found, (distributions.stored(store, wheel), "host")], []


def _built(root: Path) -> tuple[str, str, bytes] | None:
    """Return the wheel of a checkout, where its build backend is installed, else None."""
    checkout = root.resolve()
    if not (checkout / "pyproject.toml").is_file() or importlib.util.find_spec("hatchling") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="ohmykube-wheel-") as directory:
        argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory]
        if process.run(argv, timeout=_BUILD_SECONDS, cwd=checkout, check=False).code:
            return None
        for path in Path(directory).glob("*.whl"):
            return path.name, path.name.split("-")[1], path.read_bytes()
    return None


def inspect(_services: Services, path: Path) -> Checked:
    """Look into a bundle; its blobs are not hashed.

    Raises:
        NotFoundError: no such bundle.
        IntegrityError: its frame or a document is not right.
    """
    return _checked(read.load(path), hashed=False, signer="")


def verify(services: Services, path: Path, allowed: Path | None) -> Checked:
    """Hash everything in a bundle and check its signature.

    Raises:
        NotFoundError: no such bundle, or no such file of allowed signers.
        IntegrityError: what is wrong with it, by name.
    """
    found = read.load(path)
    signer = sign.signer(found.manifest, found.signature, allowed, found.label) if allowed else ""
    checked = _checked(found, hashed=True, signer=signer)
    read.verify(found, services.reporter)
    return checked


def _checked(found: read.Archive, *, hashed: bool, signer: str) -> Checked:
    key = sign.key_of(found.manifest, found.signature) if found.signature else ""
    if found.signature and hashed and not key:
        raise sign.refused(found.label, "it does not fit this content")
    return Checked(
        archive=found, hashed=hashed, signed=bool(found.signature), signer=signer, key=key
    )


def import_(services: Services, path: Path, allowed: Path | None) -> import_bundle.ImportedBundle:
    """Copy a bundle into the cache; raises as ``bring.copy``."""
    return import_bundle.copy(Store(services.paths.cache), path, services.reporter, allowed)


def export(
    services: Services, names: Sequence[str], target: Path, form: write.Form
) -> write.Written:
    """Write what the cache holds, or those references that are named, as one OCI archive.

    Args:
        services: of the command.
        names: names, ``name@version`` or digests of references; none for all that are whole.
        target: the file.
        form: how to write it.

    Raises:
        NotFoundError: nothing has such a name.
        IntegrityError: something in the cache is damaged.
        ResourceError: no space left.
    """
    store = Store(services.paths.cache)
    refs = [ref for ref in store.refs() if not names or _named(ref) & set(names)]
    unknown = sorted(set(names) - {name for ref in refs for name in _named(ref)})
    if unknown or not refs:
        raise NotFoundError(
            f"not in the cache: {', '.join(unknown)}" if unknown else "the cache is empty",
            hint="ohmykube cache ls",
            id="OMK-I-452",
        )
    wanted: list[tuple[Ref, Role]] = [(ref, "other") for ref in refs]
    with store.lease(f"export {target.name}", [ref.digest for ref in refs]):
        made = contents.BundleContents(
            name=_UNSAID.sub("_", target.name.removesuffix(SUFFIX))[:_LONGEST_NAME],
            refs=tuple(refs),
            entries=contents.entries(store, wanted),
            components=contents.components(refs, None),
        )
        with WRITE_BUNDLE.running(services):
            return write.write(store, made, target, form, services.reporter)


def _named(ref: Ref) -> set[str]:
    return {ref.name, f"{ref.name}@{ref.version}", ref.digest}
