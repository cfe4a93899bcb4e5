"""What is wrong with a YAML text is said without the words of the parser."""

from __future__ import annotations

import re

import pytest
import yaml

from ohmykube.config import yaml_source
from ohmykube.errors import ConfigError
from ohmykube.kit import yaml_errors
from ohmykube.kube import kubeconfig_edit

JARGON = re.compile(r"while (pars|scann)|flow|scalar|stream|<[a-z ]+>|node content|unicode string")
BROKEN = {
    "a: {b: [1,\nc: d": "line 2, column 5: expected ',' or ']', but got the end of the file",
    "a: [1,\n}": "line 2, column 1: expected a value, but found '}'",
    "a: 1\n  b: 2": 'line 2, column 4: a ":" where none can be',
    "- a\nb: c": "line 2, column 1: a key where none can be; is the indentation right?",
    "  a: 1\n b: 2": "line 2, column 2: a mapping where none can be; is the indentation right?",
    "a:\n\t- b": "line 2, column 1: a tab where only spaces may indent",
    'a: "x\nb: c': "line 2, column 5: found the end of the file",
    "abc\nd: e\nf\ng: h": "line 2, column 2: ",
    "a: 1\nb\nc: 2": 'line 3, column 1: a key without ":" above this place',
    "a: *x": "line 1, column 4: found undefined alias 'x'",
    "a: &": "line 1, column 5: expected alphabetic or numeric character, but found the end",
    "a: 1\n---\nb: 2": "line 2, column 1: a second document",
    "a: 1\nb: \x01": "line 2: a character that YAML does not allow",
    "[" * 3000: "it is nested too deeply",
}


@pytest.mark.parametrize("text", BROKEN)
def test_the_place_and_plain_words(text: str) -> None:
    """Every error of YAML names its line and uses no word of the parser's grammar."""
    with pytest.raises((yaml.YAMLError, RecursionError)) as caught:
        yaml.safe_load(text)
    said = yaml_errors.one_line(caught.value, text)
    assert said.startswith(BROKEN[text])
    assert not JARGON.search(said)
    with pytest.raises(ValueError, match=re.escape(BROKEN[text])):
        kubeconfig_edit.current_context(text.encode())
    with pytest.raises(ConfigError) as refused:
        yaml_source.parse(text.encode(), "cluster.yaml")
    shown = f"{refused.value.message} {refused.value.hint}"
    assert not JARGON.search(shown)


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ("a: {b: 1\nc: d", 'line 1: the mapping that begins there with "{"'),
        ("x: 1\na: [1\nc: d", 'line 2: the list that begins there with "["'),
        ('a: "x\nb: c', "line 1: the quote that begins there"),
        ("a: 'x\nb: c", "line 1: the quote that begins there"),
        ("- a\nb: c", "line 1: the list that begins there"),
        ("a: 1\nb: 2\n- c", "line 1: the mapping that begins there"),
        ("a: 1\nb\nc: 2", 'line 2: the line that begins there; it is no key with ":"'),
    ],
)
def test_where_it_began(text: str, begun: str) -> None:
    with pytest.raises(ConfigError) as caught:
        yaml_source.parse(text.encode(), "cluster.yaml")
    assert caught.value.hint == f"look also at {begun}"
