"""Whose behaviour the fake limactl has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What differs between the versions, as far as the provider can see it."""

    version: str
    backquotes: bool
    """Names in messages stand in backquotes, not in double quotes."""
    root_panics: bool
    """Root gets a panic and code 2; newer ones say it with code 1."""
    stopped_shell_is_silent: bool
    """`shell` on a stopped instance ends with 0."""
    half_made_breaks: bool
    """A directory without lima.yaml makes `list`, `stop` and `delete` of others fail."""
    failed_create_leaves: bool
    """The directory of a failed `create` stays."""
    networks_named: bool
    """`network list --json` has names."""
    linked_clones: bool
    """A disk is basedisk and diffdisk; a clone's diffdisk needs the original's basedisk."""
    port_when_stopped: bool
    """A stopped instance shows the port that its ssh.config has."""
    needs_server: bool
    """What was downloaded without a digest cannot be used while its server is away."""

    def quote(self, name: object) -> str:
        """Put a name into the quotes of this version."""
        return f"`{name}`" if self.backquotes else f'"{name}"'


PROFILES = {
    profile.version: profile
    for profile in (
        Profile(
            version="2.0.3",
            backquotes=False,
            root_panics=True,
            stopped_shell_is_silent=True,
            half_made_breaks=True,
            failed_create_leaves=True,
            networks_named=False,
            linked_clones=True,
            port_when_stopped=False,
            needs_server=True,
        ),
        Profile(
            version="2.2.0",
            backquotes=True,
            root_panics=False,
            stopped_shell_is_silent=False,
            half_made_breaks=False,
            failed_create_leaves=False,
            networks_named=True,
            linked_clones=False,
            port_when_stopped=True,
            needs_server=False,
        ),
    )
}
