"""The forms of kubeadm's configuration are what its Go modules say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools import kubeadm_types

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
package v1

// Root is read. `json:"comment"`
type Root struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	Name string `json:"name,omitempty"`
	Times *Times `json:"times" protobuf:"1"`
	Args []Arg `json:"args"`
	Sizes map[string]*Size `json:"sizes"`
	Raw []byte `json:"raw"`
	Mode Mode `json:"mode"`
	Limits v1.ResourceList `json:"limits"`
	Deep Deep `json:"deep"`
	hidden int `json:"-"`
	Embedded `json:",inline"`
}
type Mode string
type Size int32
type Times struct {
	For metav1.Duration `json:"for"`
}
type Arg struct {
	Name  string `json:"name"`
}
type Deep struct {
	Again *Deep `json:"again"`
}
type Embedded struct {
	Below *bool `json:"below"`
}
type Unused struct {
	X Unknown `json:"x"`
}
"""


def test_types_are_read_as_json_has_them(tmp_path: Path) -> None:
    (tmp_path / "types.go").write_text(SOURCE)
    types = kubeadm_types.Types()
    types.read(tmp_path)
    assert types.resolve("Root") == "Root"
    assert types.reached == {
        "Root": {
            "apiVersion": "string",
            "kind": "string",
            "name": "string",
            "times": "Times",
            "args": "list Arg",
            "sizes": "map int",
            "raw": "string",
            "mode": "string",
            "limits": "map quantity",
            "deep": "Deep",
            "below": "bool",
        },
        "Times": {"for": "duration"},
        "Arg": {"name": "string"},
        "Deep": {"again": "Deep"},
    }


def test_a_field_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "types.go").write_text('type A struct {\n\tF func() int `json:"f"`\n}\n')
    with pytest.raises(ValueError, match="not all fields of A"):
        kubeadm_types.Types().read(tmp_path)
