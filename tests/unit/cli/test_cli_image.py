"""``ohmykube image``: what it hands on, and what people read."""

from __future__ import annotations

import pytest

from tests.data.cli.fake_images import APP, DIGEST


def test_load_hands_its_options_on(cli, fakes) -> None:
    assert cli("image", "load", "app:dev").code == 0
    assert fakes.calls[-1] == ("image load", "dev", ("app:dev",), "auto", "", ())
    words = ("-", "--name", "dev", "--node", "a", "--node", "b", "--from", "podman", "--ref", "x:1")
    assert cli("image", "load", *words).code == 0
    assert fakes.calls[-1] == ("image load", "dev", ("-",), "podman", "x:1", ("a", "b"))


def test_pull_and_list_hand_their_options_on(cli, fakes) -> None:
    assert cli("image", "pull", "a", "b", "--node", "w1").code == 0
    assert fakes.calls[-1] == ("image pull", "dev", ("a", "b"), ("w1",))
    assert cli("image", "list", "--node", "w1").code == 0
    assert fakes.calls[-1] == ("image list", "dev", ("w1",))


def test_a_delivery_reads_well_at_80_columns(cli) -> None:
    out = cli("image", "load", "app:dev").out
    assert out.splitlines() == [
        "DIGEST         SIZE        IMAGE",
        "abababababab   128.7 MiB   docker.io/library/app:dev",
        "",
        "NODE   SENT       SKIPPED     TIME    HOW",
        "cp1    13.4 MiB   115.4 MiB   0.4s    pulled",
        "w1     0 B        128.7 MiB   0.1s    nothing to do",
        "w2     1.3 GiB    999 B       1m01s   streamed: sshd refuses the tunnel",
    ]
    assert max(map(len, out.splitlines())) <= 80


def test_a_failed_node_is_told_after_what_the_others_got(cli) -> None:
    outcome = cli("image", "load", "broken.tar")
    assert outcome.code == 15
    assert "FAILED" in outcome.out
    assert "1 of 3 nodes did not get the images" in outcome.err
    assert "w2: node w2 did not take it" in outcome.err
    document = cli("image", "load", "broken.tar", "-o", "json").document
    assert [node["error"] for node in document["nodes"]] == ["", "", "node w2 did not take it"]


def test_a_list_reads_well_at_80_columns(cli) -> None:
    out = cli("image", "list").out
    assert out.splitlines() == [
        "DIGEST         SIZE       PINNED   NODES                IMAGE",
        f"{DIGEST[7:19]}   12.9 MiB   yes      all                  {APP}",
        f"{DIGEST[7:19]}   8.9 MiB    no       not w1; broken cp1   registry.k8s.io/etcd:3.6.8-0",
        "",
        "w2: node w2 cannot be reached by ssh",
    ]


def test_sizes_in_documents_are_numbers_of_bytes(cli) -> None:
    items = cli("image", "list", "-o", "json").document["items"]
    assert [item["sizeBytes"] for item in items] == [13_526_630, None]


@pytest.mark.parametrize("words", [(), ("load",), ("pull",)])
def test_mistakes_and_help(cli, words) -> None:
    outcome = cli("image", *words)
    assert outcome.code == (2 if words else 0)
    helped = cli("image", *words, "--help")
    assert helped.code == 0
    assert max(map(len, helped.out.splitlines())) <= 80
