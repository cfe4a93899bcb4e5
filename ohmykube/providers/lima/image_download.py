"""Let limactl download what machines are made from, without making one.

limactl downloads when it makes an instance, and in no other way. So one is made that never starts,
in a home of its own: nothing of the user's machines is touched or waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.errors import IntegrityError, NetworkError, ProviderError
from ohmykube.kit import failures, files, locks, shell
from ohmykube.progress import item
from ohmykube.providers.lima import lima_home
from ohmykube.providers.lima.creation import FOR_IMAGE
from ohmykube.providers.lima.limactl_errors import LimactlError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ohmykube.errors import OhmykubeError
    from ohmykube.progress import Reporter
    from ohmykube.providers.lima.lima_home import Home
    from ohmykube.providers.lima.limactl import Limactl
    from ohmykube.providers.lima.machine_image_tar import MachineImage


def fetch(
    where: Home,
    image: MachineImage,
    text: str,
    limactl: Callable[[Path], Limactl],
    reporter: Reporter,
) -> None:
    """Make limactl download all portable files.

    Args:
        where: our home of Lima; the instance gets another one below it.
        image: the files to download.
        text: template of a machine that is made from it.
        limactl: gives the limactl of a home.
        reporter: of the run.

    Raises:
        NetworkError: it cannot be reached.
        IntegrityError: it is something else than the description says.
        ResourceError: no space left.
        LockedError: another run does the same for too long.
        PrerequisiteError, ProviderError: limactl cannot do it.
    """
    if image.is_downloaded():
        return
    # Short: limactl counts the path of a socket, and this one is no longer than a network's.
    place = where.own / "f"
    with (
        locks.exclusive(
            where.own / "fetch.lock",
            "the download of machine images",
            wait_seconds=lima_home.OF_LIMA,
        ),
        item(reporter, "machine image", "download with limactl"),
    ):
        files.remove_tree(place)
        with failures.closing(lambda: _sweep(place, image)):
            try:
                limactl(place).create(FOR_IMAGE, text)
            except LimactlError as error:
                raise _explained(error, image) from error
    if not image.is_downloaded():
        raise ProviderError(
            "limactl did not keep the machine image where it keeps downloads",
            why=f"nothing with the digest demanded is below {image.downloads}",
            hint="limactl --version  (2.0 to 2.2 are known to work)",
            id="OMK-P-577",
        )


def _sweep(place: Path, image: MachineImage) -> None:
    files.remove_tree(place)
    for part in image.portable:
        image.download(part).sweep()


def _explained(error: LimactlError, image: MachineImage) -> OhmykubeError:
    if error.reason is Reason.DIGEST:
        # Also what an older description with the same address had left among the downloads.
        stale = [p for part in image.portable if (p := image.download(part)).data.exists()]
        return IntegrityError(
            "the machine image is not the one that its digest says",
            why=error.why,
            hint=f"rm -r {shell.word(stale[0].directory)}  (then the same command again)"
            if stale
            else "set `image` and `digest` in spec.provider.options to those of its publisher",
            id="OMK-P-576",
        )
    if error.reason is Reason.DOWNLOAD:
        return NetworkError(
            "the machine image cannot be downloaded",
            why=error.why,
            hint="the same command again with a network, or name another image: docs/lima.md",
            id="OMK-P-579",
        )
    return ProviderError(
        "limactl could not get the machine image",
        why=error.why,
        hint=error.hint or "ohmykube doctor --provider lima",
        id="OMK-P-580",
    )
