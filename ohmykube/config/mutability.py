"""How a changed field of ``cluster.yaml`` reaches a cluster that exists."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

KEYWORD = "x-mutability"
"""Keyword of the published JSON schema."""


class Mutability(enum.Enum):
    """An annotation of a field: what ``up`` does with another value."""

    LIVE = "live"
    """It is brought about on the cluster as it runs."""
    NODE_BY_NODE = "node by node"
    """It is brought about on each node for itself, where the provider can do that."""
    AT_CREATION = "at creation"
    """It is refused: only a new cluster, or a new node, gets it."""
    NODES = "nodes"
    """It says which nodes there are: missing ones are created, those too many are deleted."""
    IDENTITY = "identity"
    """It says which cluster this is, or in which format: another value is none of this one."""
    SETTING = "setting"
    """It is nothing of the cluster: this run and later ones use it."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Add it to the published schema."""
        return {**handler(core_schema), KEYWORD: self.value}
