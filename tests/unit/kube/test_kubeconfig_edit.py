"""What is not ours in the user's kubeconfig stays byte for byte, however it is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ohmykube.kube import kubeconfig_edit
from ohmykube.kube.kubeconfig_edit import merged, removed
from ohmykube.kube.yaml_edit import NotUnderstoodError

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = "ohmykube-dev"
MINE = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": NAME, "cluster": {"server": "https://127.0.0.1:36443"}}],
    "users": [{"name": NAME, "user": {"token": "t"}}],
    "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
    "current-context": NAME,
}
BLOCK = b"""\
# my clusters, do not touch
apiVersion: v1
clusters:
  - cluster:
      server: "https://prod"   # behind the VPN
    name: prod
  # the next one is J\xfcrgen's
  - name: 'test'
    cluster: {server: https://test, certificate-authority: '/home/J\xfcrgen/ca.crt'}

contexts:
- context: {cluster: prod, user: admin}
  name: prod

current-context:   prod   # changed by hand
kind: Config
preferences: {}
users:
- name: admin
  user:
    token: "\xe4"
# the end
"""
FLOW = b'{"kind": "Config", "clusters": [{"name":"prod","cluster":{}}, ], "contexts": [ ]\n}\n'
FORMS = {
    "block": BLOCK,
    "flow": FLOW,
    "CRLF": BLOCK.replace(b"\n", b"\r\n"),
    "BOM": b"\xef\xbb\xbf" + BLOCK,
    "no end of line": BLOCK.removesuffix(b"# the end\n").rstrip(b"\n"),
    "no end of line, a comment": BLOCK.rstrip(b"\n"),
    "head and tail": b"%YAML 1.1\n---\n" + BLOCK + b"...\n",
    "empty lists": b"clusters: []\nusers: [ ] # none\ncontexts:\n",
    "null": b"clusters: null\nusers: ~\ncontexts:  # none yet\ncurrent-context:\n",
    "nothing but a head": b"kind: Config\n",
    "no context": b"kind: Config\nclusters:\n- name: prod\n  cluster:",
    "a text at the end": b"users:\n- name: a\n  user:\n    token: |\n      x\n\n      y\n\n# end\n",
    "anchors": b"x-a: &a {server: x}\nclusters:\n- name: prod\n  cluster: *a\nkind: Config\n",
    "deep": b"clusters:\n      -   name: a\n          cluster: {}\nusers:\n -\n  a: b\n",
    "comments only": b"# nothing here\n# yet",
    "nothing": b"",
    "an odd end": b"kind: Config\nextensions:\n- a\n-\n",
    "non-ASCII": 'kind: Config\nclusters: [{name: "größe\u2028\U0001f600"}]\n'.encode(),
}


def semantic(data: bytes) -> dict[str, Any]:
    return yaml.safe_load(data.decode("utf-8-sig", "replace")) or {}


def in_order(parts: Iterable[object], whole: Iterable[object]) -> bool:
    """Tell whether ``parts`` is what is left of ``whole`` when something is taken out."""
    rest = iter(whole)
    return all(part in rest for part in parts)


@pytest.mark.parametrize("old", FORMS.values(), ids=FORMS)
def test_all_forms_get_our_entries_and_keep_theirs(old: bytes) -> None:
    new = merged(old, MINE)
    before, after = semantic(old), semantic(new)
    assert after["current-context"] == NAME
    for key in kubeconfig_edit.LISTS:
        kept = before.get(key) or []
        assert after[key] == [*kept, *MINE[key]]
    for key in before.keys() - {*kubeconfig_edit.LISTS, "current-context"}:
        assert after[key] == before[key]
    theirs = [line for line in old.splitlines(keepends=True) if b"current-context" not in line]
    if b"null" not in old:
        assert in_order(b"".join(theirs), new)
    if b"[" not in old and b"null" not in old:
        assert in_order([line.rstrip(b"\r\n") for line in theirs], new.splitlines())
    assert merged(new, MINE) == new, "again changes nothing"


def test_only_our_lines_are_new() -> None:
    new = merged(BLOCK, MINE)
    text = new.decode("latin-1")
    for added in (
        "  - name: ohmykube-dev\n    cluster:\n      server: https://127.0.0.1:36443\n",
        "- name: ohmykube-dev\n  context:\n    cluster: ohmykube-dev\n    user: ohmykube-dev\n",
        "- name: ohmykube-dev\n  user:\n    token: t\n",
    ):
        assert text.count(added) == 1
        text = text.replace(added, "")
    assert text == BLOCK.decode("latin-1").replace(":   prod   #", ":   ohmykube-dev   #")


def test_ours_is_replaced_in_its_place() -> None:
    first = merged(BLOCK, MINE)
    moved = json.loads(json.dumps(MINE).replace("36443", "40000"))
    second = merged(first, moved)
    assert second == first.replace(b"36443", b"40000")
    assert merged(second, MINE) == first


def test_a_file_of_json_stays_one() -> None:
    new = merged(json.dumps({"kind": "Config", "clusters": [], "users": None}).encode(), MINE)
    assert json.loads(new)["users"] == MINE["users"]
    assert merged(FLOW, MINE).startswith(FLOW[:60])


@pytest.mark.parametrize(
    "old",
    [
        b"a: &l []\nclusters: *l\n",
        b"clusters:\n- &a {name: ohmykube-dev}\nx: *a\n",
        b"current-context: {a: b}\n? [x]\n: y\n",
    ],
)
def test_what_cannot_be_changed_in_part_is_refused(old: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - either of the two
        merged(old, MINE)


@pytest.mark.parametrize("old", [b"[1]", b"clusters: 5", b"clusters: [5]", b"a: [", b"a: 1\n---\n"])
def test_what_is_no_kubeconfig_is_refused(old: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        merged(old, MINE)
    assert not isinstance(caught.value, NotUnderstoodError)


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
entry = st.fixed_dictionaries({"name": words}, optional={"cluster": st.dictionaries(words, words)})
configs = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.just("Config"),
        **{key: st.none() | st.lists(entry, max_size=3) for key in kubeconfig_edit.LISTS},
        "current-context": st.none() | words,
        "preferences": st.dictionaries(words, words, max_size=3),
    },
)


@given(configs, st.sampled_from([True, False, None]), st.booleans(), st.integers(2, 6))
def test_whatever_a_program_wrote(
    content: dict[str, Any], flow: bool | None, wide: bool, indent: int
) -> None:
    old = yaml.safe_dump(
        content,
        default_flow_style=flow,
        allow_unicode=wide,
        indent=indent,
        explicit_start=wide,
        sort_keys=False,
    ).encode()
    new = merged(old, MINE)
    after = yaml.safe_load(new)
    for key in kubeconfig_edit.LISTS:
        assert after[key] == [*(content.get(key) or []), *MINE[key]]
    assert after.get("preferences") == content.get("preferences")
    assert merged(new, MINE) == new


@pytest.mark.parametrize("old", FORMS.values(), ids=FORMS)
def test_taking_ours_out_again_leaves_theirs(old: bytes) -> None:
    before, after = semantic(old), semantic(removed(merged(old, MINE), NAME, "prod"))
    for key in kubeconfig_edit.LISTS:
        assert (after.get(key) or []) == (before.get(key) or [])
    contexts = {entry["name"] for entry in before.get("contexts") or []}
    assert after["current-context"] == ("prod" if "prod" in contexts else "")
    for key in before.keys() - {*kubeconfig_edit.LISTS, "current-context"}:
        assert after[key] == before[key]


@pytest.mark.parametrize(
    "form", ["block", "CRLF", "BOM", "head and tail", "no end of line, a comment"]
)
def test_merged_and_taken_out_every_byte_is_as_it_was(form: str) -> None:
    old = FORMS[form]
    assert removed(merged(old, MINE), NAME, "prod").rstrip(b"\r\n") == old.rstrip(b"\r\n")


@pytest.mark.parametrize("old", FORMS.values(), ids=FORMS)
def test_where_there_is_nothing_of_ours_no_byte_changes(old: bytes) -> None:
    assert removed(old, NAME, "prod") == old


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ("OAB", "AB"),
        ("AOB", "AB"),
        ("ABO", "AB"),
        ("O", ""),
        ("OO", ""),
        ("OAO", "A"),
        ("AOOBO", "AB"),
    ],
)
@pytest.mark.parametrize("flow", [True, False])
def test_wherever_ours_stands(names: str, left: str, flow: bool) -> None:
    entries = [{"name": NAME if one == "O" else one, "cluster": {"server": one}} for one in names]
    old = yaml.safe_dump({"clusters": entries, "kind": "Config"}, default_flow_style=flow).encode()
    assert [one["name"] for one in semantic(removed(old, NAME, ""))["clusters"]] == list(left)


@pytest.mark.parametrize("current", ["prod", "", "gone", NAME])
def test_the_current_context_is_one_that_exists_or_none(current: str) -> None:
    after = semantic(removed(merged(BLOCK, MINE), NAME, current))
    assert after["current-context"] == ("prod" if current == "prod" else "")


def test_another_current_context_stays() -> None:
    chosen = merged(BLOCK, MINE).replace(
        b"current-context:   ohmykube-dev", b"current-context: test"
    )
    assert semantic(removed(chosen, NAME, "prod"))["current-context"] == "test"
