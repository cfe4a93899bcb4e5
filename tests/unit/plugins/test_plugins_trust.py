"""Authorities that a node trusts: exactly those that are wanted, whatever cut a run off."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.ohmykube.cluster.plugins.module_utils import programs, trust
from ansible_collections.ohmykube.cluster.plugins.modules.node_prepare import Preparation

from tests.unit.plugins.preparation import FACTS, PARAMS

if TYPE_CHECKING:
    from .conftest import FakeNode

pytestmark = pytest.mark.linux
DATA = Path(__file__).parents[2] / "data" / "trust"
ONE, TWO = [(DATA / f"{name}.pem").read_text() for name in ("one", "two")]
BARE = {**PARAMS, "kernel_modules": [], "sysctls": {}, "hosts": {}, "swap": "keep"}
STORE = 'cat "$ROOT{0}"/*.crt >"$ROOT/store" 2>/dev/null; true'


def prepare(node: FakeNode, *certificates: str, check: bool = False) -> Preparation:
    params = {**BARE, "trusted_certificates": list(certificates)}
    made = Preparation(params, check, FACTS, root=str(node.root))
    made.present()
    return made


def of_trust(made: Preparation) -> list[str]:
    return [change for change in made.changes if "ohmykube-" in change or "update-" in change]


@pytest.fixture(params=range(len(trust.STORES)), ids=["redhat", "suse", "debian"])
def directory(request: pytest.FixtureRequest, node: FakeNode) -> str:
    """The directory of a distribution's store, whose program is there."""
    found, program = trust.STORES[request.param]
    node.path(found.lstrip("/")).mkdir(parents=True)
    node.write(f"{found.lstrip('/')}/others.crt", "theirs")
    node.program(program, STORE.format(found))
    return found


def trusted(node: FakeNode) -> str:
    """Return what programs of the node trust."""
    return node.path("store").read_text()


SETS: list[tuple[str, ...]] = [(), (ONE,), (ONE, TWO), (TWO, ONE), (TWO,), (ONE, ONE), ()]


@pytest.mark.parametrize(("before", "after"), [*pairwise(SETS), ((TWO, ONE), ())])
def test_the_store_has_those_that_are_wanted_and_those_of_others(
    node: FakeNode, directory: str, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    prepare(node, *before)
    changes = of_trust(prepare(node, *after, check=True))
    assert of_trust(prepare(node, *after)) == changes
    assert bool(changes) is (set(before) != set(after))
    if before or after:
        assert trusted(node) == "".join(sorted_by_name(after)) + "theirs"
    assert of_trust(prepare(node, *after)) == []
    calls = node.calls()
    assert of_trust(prepare(node, *after, check=True)) == []
    assert node.calls() == calls


def sorted_by_name(certificates: tuple[str, ...]) -> list[str]:
    """Return each once, in the order of the names of their files."""
    digests = {trust.name_of(text): text for text in certificates}
    return [digests[name] for name in sorted(digests)]


def test_an_end_of_line_more_or_less_makes_no_other_certificate(
    node: FakeNode, directory: str
) -> None:
    prepare(node, ONE)
    for same in (ONE.rstrip("\n"), ONE + "\n"):
        assert of_trust(prepare(node, same)) == []


@pytest.mark.parametrize("after", [(TWO,), ()])
def test_a_store_that_was_not_made_is_made_by_the_next_run(
    node: FakeNode, directory: str, after: tuple[str, ...]
) -> None:
    """Also when a certificate was only taken out, of which nothing is left to be seen."""
    prepare(node, ONE)
    program = dict(trust.STORES)[directory]
    node.program(program, "echo no space left >&2; exit 1")
    with pytest.raises(programs.ProgramError):
        prepare(node, *after)
    node.program(program, STORE.format(directory))
    assert of_trust(prepare(node, *after, check=True)) == [program]
    assert of_trust(prepare(node, *after)) == [program]
    assert trusted(node) == "".join(after) + "theirs"
    assert of_trust(prepare(node, *after)) == []


def test_without_the_role_nothing_of_it_is_trusted(node: FakeNode, directory: str) -> None:
    prepare(node, ONE, TWO)
    made = Preparation(BARE, False, FACTS, root=str(node.root))
    made.absent()
    assert trusted(node) == "theirs"
    assert of_trust(prepare(node)) == []


KEY = "-----BEGIN {0}PRIVATE KEY-----\nAAAA\n-----END {0}PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (ONE, True),
        (ONE.rstrip("\n"), True),
        (ONE + TWO, False),
        (ONE + KEY.format("EC "), False),
        (KEY.format(""), False),
        ("", False),
        ("ca.pem", False),
        (ONE.replace("CERTIFICATE", "X509 CRL"), False),
        (ONE[:-30], False),
        ("# comment\n" + ONE, False),
    ],
)
def test_a_text_that_is_not_one_certificate_is_named_by_its_number(text: str, good: bool) -> None:
    told = trust.problems([ONE, text])
    assert [problem.split(" is")[0] for problem in told] == ([] if good else ["certificate 2"])


def test_links_to_what_was_taken_out_go_and_no_others(node: FakeNode, directory: str) -> None:
    """Debian's program leaves them dangling."""
    prepare(node, ONE, TWO)
    links = node.path("etc/ssl/certs")
    links.mkdir(parents=True)
    for number, text in enumerate((ONE, TWO)):
        file = trust.name_of(text)
        (links / file.replace(".crt", ".pem")).symlink_to(f"{node.root}{directory}/{file}")
        (links / f"hash{number}.0").symlink_to(file.replace(".crt", ".pem"))
    (links / "others.pem").symlink_to("/gone.crt")
    prepare(node, TWO)
    kept = {trust.name_of(TWO).replace(".crt", ".pem"), "hash1.0", "others.pem"}
    assert {path.name for path in links.iterdir()} == kept
