"""Whatever destroys data is done with a yes to each of it, or not at all."""

from __future__ import annotations

import pytest

from ohmykube.model.change import Change, DeleteNode, InstallAddon, Plan, RemoveAddon
from ohmykube.model.cluster import Role
from ohmykube.planning import consent

W1 = DeleteNode(node="w1", role=Role.WORKER, reason="it is too many")
W2 = DeleteNode(node="w2", role=Role.WORKER, reason="it is too many")
STORE = RemoveAddon(addon="store", version="1", owns=("volumes", "snapshots"))
QUEUE = RemoveAddon(addon="queue", version="2", owns=("messages",))
EMPTY = RemoveAddon(addon="empty", version="1")
NEW = InstallAddon(addon="new", version="1")

ASKED = [
    ([W1], "node w1, with all data there", "it is too many", {"w1"}),
    ([W1, W2], "nodes w1, w2, with all data there", "it is too many", {"w1", "w2"}),
    (
        [STORE],
        "add-on store with volumes, snapshots",
        "the description does not have it any more",
        {"addon/store"},
    ),
    (
        [EMPTY, STORE, NEW, QUEUE, W1],
        (
            "node w1, with all data there and add-on store with volumes, snapshots"
            " and add-on queue with messages"
        ),
        "it is too many",
        {"w1", "addon/store", "addon/queue"},
    ),
]


@pytest.mark.parametrize(("changes", "what", "why", "losses"), ASKED)
def test_each_loss_is_told_and_needs_a_yes(
    changes: list[Change], what: str, why: str, losses: set[str]
) -> None:
    plan = Plan(changes=tuple(changes))
    for agreed in ({}, {"other"}, *(losses - {one} for one in losses)):
        with pytest.raises(consent.ConsentNeeded) as error:
            consent.check("dev", plan, agreed)
        assert error.value.message == f'cluster "dev" would lose {what}'
        assert error.value.why == f"{why}, and deleting needs a yes"
        assert set(error.value.losses) == losses
    consent.check("dev", plan, losses)
    consent.check("dev", plan, None)


def test_nothing_is_asked_where_nothing_is_lost() -> None:
    consent.check("dev", Plan(changes=(EMPTY, NEW)), ())
    consent.check("dev", Plan(), ())
