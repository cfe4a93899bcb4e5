"""The commands on bundles: what they hand on, and what they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from ohmykube.cache.bundle import document
from ohmykube.cli._lazy import LazyGroup
from ohmykube.cli._root import group
from ohmykube.errors import NotFoundError
from ohmykube.kit.paths import from_environment
from ohmykube.progress import NullReporter
from ohmykube.steps.context import Services
from tests.data.cli import fake_bundles
from tests.data.cli.fake_bundles import DIGEST

COMMANDS = (
    ("bundle", "create"), ("bundle", "inspect"), ("bundle", "verify"),
    ("cache", "export"), ("cache", "import"),
)  # fmt: skip


@pytest.fixture
def described(tmp_path) -> str:
    path = tmp_path / "cluster.yaml"
    path.write_text("apiVersion: ohmykube.dev/v1\nkind: Cluster\nmetadata: {name: x}\n")
    return str(path)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_and_examples(cli, words) -> None:
    outcome = cli(*words, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(len(line) <= 80 for line in outcome.out.splitlines())
    noun = group().get_command(None, words[0])
    assert isinstance(noun, LazyGroup)
    command = noun.get_command(None, words[1])
    assert all("ohmykube " + " ".join(words) in example for example in command.examples)


def test_the_overview(cli) -> None:
    outcome = cli("bundle")
    assert outcome.code == 0
    assert "inspect" in outcome.out


def test_create_hands_on_what_was_asked(cli, fakes, described, home) -> None:
    outcome = cli(
        "bundle", "create", "-f", described, "--to", "a.omk.tar", "--split", "3900M",
        "--sign", "key", "--image", "a:1", "--image", "b:2",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    name, options = fakes.calls[-1][1:]
    assert name == "x"
    assert (options.target, options.key) == (Path("a.omk.tar"), Path("key"))
    assert (options.split, options.since) == (3900 << 20, None)
    assert options.images == ("a:1", "b:2")
    assert "a.omk.tar.sha256 and 2 parts: 1 blob, 41.0 MiB" in outcome.out
    assert "not in it: the wheel" in outcome.out
    assert "signed" in outcome.out.splitlines()
    assert "  ohmykube bundle verify a.omk.tar.sha256" in outcome.out
    assert list(home.glob("state/logs/*-bundle.log"))


def test_create_without_options(cli, fakes, described) -> None:
    outcome = cli("bundle", "create", "-f", described, "-o", "json")
    assert outcome.document["files"] == ["dev.omk.tar"]
    assert outcome.document["digest"] == DIGEST
    assert fakes.calls[-1][2].split == 0
    plain = cli("bundle", "create", "-f", described, "--since", "old.tar")
    assert "1 blob left out (in the older bundle)" in plain.out
    assert "not signed" in plain.out


@pytest.mark.parametrize("size", ["0", "M", "-1M", "10", "9" * 13 + "T", "1023K"])
def test_sizes_that_are_none(cli, described, size) -> None:
    outcome = cli("bundle", "create", "-f", described, "--split", size)
    assert outcome.code == 2
    assert "3900M" in outcome.err


def test_inspect(cli, home) -> None:
    outcome = cli("bundle", "inspect", "dev.omk.tar")
    assert "dev.omk.tar: Kubernetes 1.36.3, amd64, 1 blob, 41.0 MiB" in outcome.out
    assert "not signed: whoever could change the file" in outcome.out
    assert "kubeadm" in outcome.out
    assert not home.exists(), "looking leaves no trace"
    since = cli("bundle", "inspect", "since.signed.parts.tar")
    assert "an export" in since.out
    assert "adds to the bundle sha256:efef" in since.out
    assert "signed with ED25519 key SHA256:abc; nobody said whose key may sign" in since.out
    document = cli("bundle", "inspect", "since.signed.parts.tar", "-o", "json").document
    assert (document["parts"], document["absentBlobs"], document["hashed"]) == (2, 1, False)
    assert document["components"][0]["licence"] == "unknown"


def test_verify(cli, fakes) -> None:
    outcome = cli("bundle", "verify", "since.signed.tar", "--allowed-signers", "names")
    assert outcome.code == 0
    assert fakes.calls[-1][1:] == (Path("since.signed.tar"), Path("names"))
    assert "is whole: 1 blob hashed" in outcome.out
    assert "signed by release@test, who is an allowed signer" in outcome.out
    assert "1 blob must come from the bundle sha256:efef" in outcome.out


def test_import_and_export(cli, fakes) -> None:
    outcome = cli("cache", "import", "dev.omk.tar", "--allowed-signers", "names")
    assert outcome.out == "dev.omk.tar: 1 blob copied (41.0 MiB), 2 were there, 0 references\n"
    assert fakes.calls[-1] == ("cache import", Path("dev.omk.tar"), Path("names"))
    outcome = cli("cache", "export", "a:1", "b:2", "--to", "x.tar", "-o", "json")
    assert outcome.document["kind"] == "BundleWritten"
    assert fakes.calls[-1][1:3] == (("a:1", "b:2"), Path("x.tar"))
    assert cli("cache", "export").code == 2
    assert cli("cache", "export", "--to", "x.tar", "--since", "nothing.tar").code == 6


def test_up_hands_on_bundles(cli, fakes, described) -> None:
    words = ("--offline", "--bundle", "a.tar", "--bundle", "b.tar", "--allowed-signers", "names")
    assert cli("up", "-f", described, *words).code == 0
    options = fakes.calls[-1][2]
    assert options.offline
    assert options.bundles == (Path("a.tar"), Path("b.tar"))
    assert options.allowed_signers == Path("names")
    outcome = cli("up", "--allowed-signers", "names")
    assert outcome.code == 2
    assert "goes with --bundle" in outcome.err


def test_up_takes_the_version_of_the_bundle(cli, fakes, described) -> None:
    def version(*words: str) -> str:
        assert cli("up", *words, "--bundle", "a.tar").code == 0
        return fakes.calls[-1][1].kubernetes_version

    from tests.data.cli import fake_bundles

    assert version("--name", "new") == fake_bundles.bundle().kubernetes
    assert ("bundle inspect", Path("a.tar")) in fakes.calls
    fakes.calls.clear()
    version("--name", "dev")
    version("--name", "new", "--kubernetes", "1.36.3")
    version("-f", described)
    assert "bundle inspect" not in [call[0] for call in fakes.calls]


def test_the_real_workflows_are_reached(tmp_path) -> None:
    services = Services(
        paths=from_environment({"OHMYKUBE_HOME": str(tmp_path / "home")}), reporter=NullReporter()
    )
    nothing = tmp_path / "nothing.tar"
    from ohmykube.cache.bundle.write import Form
    from ohmykube.config.load import from_overrides
    from ohmykube.config.overrides import Overrides
    from ohmykube.workflows import bundle

    cluster = from_overrides(Overrides(name="x", provider="fake"))
    for call in (
        lambda: bundle.inspect(services, nothing),
        lambda: bundle.verify(services, nothing, None),
        lambda: bundle.import_(services, nothing, None),
        lambda: bundle.export(services, ["x"], nothing, Form()),
        lambda: bundle.create(services, cluster, bundle.CreateOptions(since=nothing)),
    ):
        with pytest.raises(NotFoundError):
            call()


@pytest.mark.parametrize(
    ("name", "why"),
    [("-", "does not go to stdout"), ("a\nb.tar", "no line can show"), (".", "is a directory")],
)
def test_what_no_bundle_can_be_written_to(cli, fakes, described, name, why) -> None:
    for words in (("cache", "export"), ("bundle", "create", "-f", described)):
        outcome = cli(*words, "--to", name)
        assert outcome.code == 2
        assert why in " ".join(outcome.err.split())
    assert not fakes.calls


def test_the_next_command_can_be_pasted(cli) -> None:
    for name, said in (("-a.tar", "./-a.tar"), ("a b.tar", "'a b.tar'"), ("ü.tar", "'ü.tar'")):
        outcome = cli("cache", "export", "--to", name)
        assert f"ohmykube bundle verify {said}\n" in outcome.out.replace(".sha256", "")


def test_inspect_fits_80_columns(cli, monkeypatch) -> None:
    found = fake_bundles.bundle()
    names = {
        "image": ("registry.k8s.io/kube-controller-manager:v1.36.3", "v1.36.3"),
        "package": ("containerd", "containerd-2.3.4_runc-1.4.3_cni-plugins-1.9.1"),
    }
    components = tuple(
        document.Component(kind=kind, name=name, version=version, arch="riscv64", digest=DIGEST)
        for kind, (name, version) in names.items()
    )
    bundle = found.model_copy(update={"components": components})
    monkeypatch.setattr(fake_bundles, "bundle", lambda **_: bundle)
    out = cli("bundle", "inspect", "dev.omk.tar").out
    assert max(map(len, out.splitlines())) <= 80
    assert "registry.k8s.io/kube-controller-manager (riscv64)   v1.36.3" in out
    assert "containerd-2.3.…" in out
