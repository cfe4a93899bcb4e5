"""The user behind sudo: found by the environment, written for as that user."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING

import pytest

from ohmykube.kit.process import CommandFailed
from ohmykube.kit.sudo_user import SudoUser, behind_sudo

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = pwd.getpwnam("nobody")


def test_found_by_sudo_s_own_variables() -> None:
    environ = {"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid)}
    found = behind_sudo(environ, euid=0)
    assert found is not None
    assert (found.uid, found.gid, str(found.home)) == (
        NOBODY.pw_uid,
        NOBODY.pw_gid,
        NOBODY.pw_dir,
    )


@pytest.mark.parametrize(
    ("environ", "euid"),
    [
        ({}, 0),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, 0),
        ({"SUDO_UID": "65534", "SUDO_GID": "65534"}, 1000),
        ({"SUDO_UID": "-1", "SUDO_GID": "65534"}, 0),
        ({"SUDO_UID": "4294900000", "SUDO_GID": "1"}, 0),
        ({"SUDO_UID": "65534"}, 0),
    ],
)
def test_nobody_is_behind(environ: dict[str, str], euid: int) -> None:
    assert behind_sudo(environ, euid=euid) is None


@pytest.mark.usefixtures("as_root")
class TestAsTheUser:
    @pytest.fixture
    def user(self, public: Path) -> SudoUser:
        home = public / "home"
        home.mkdir()
        import os

        os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
        return SudoUser(uid=NOBODY.pw_uid, gid=NOBODY.pw_gid, home=home)

    def test_a_file_is_his_and_his_alone(self, user: SudoUser) -> None:
        path = user.home / ".kube" / "x.yaml"
        user.write(path, "one")
        user.write(path, "two")
        assert path.read_text() == "two"
        status = path.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (NOBODY.pw_uid, 0o600)
        assert [entry.name for entry in path.parent.iterdir()] == ["x.yaml"]
        user.remove(path)
        user.remove(path)
        assert not path.exists()

    def test_a_planted_link_leads_root_nowhere(self, user: SudoUser, public: Path) -> None:
        secret = public / "root-only"
        secret.mkdir(mode=0o700)
        (user.home / ".kube").symlink_to(secret)
        with pytest.raises(CommandFailed):
            user.write(user.home / ".kube" / "x.yaml", "content")
        assert list(secret.iterdir()) == []
