"""Serve the cache until asked to stop: a pull-through cache, and tunnels to clusters' nodes."""

from __future__ import annotations

import ipaddress
import tempfile
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ohmykube.addons import selection
from ohmykube.cache.serve import Listener, pull_through_cache, upstreams
from ohmykube.cache.serve.stats import Counts
from ohmykube.cache.store import Store
from ohmykube.errors import Interrupted, OhmykubeError, UsageError
from ohmykube.kit import amounts, failures
from ohmykube.model.networks import host_port
from ohmykube.progress import ItemProgress, Message, StepStarted
from ohmykube.steps.serve import token as cluster_token
from ohmykube.steps.tunnel import Tunnel
from ohmykube.workflows import session
from ohmykube.workflows.tunnel_keeper import ClusterTunnels, NodeTunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ohmykube.cache.serve import PullThrough
    from ohmykube.kit.secret import Secret
    from ohmykube.progress import Event, Reporter
    from ohmykube.steps.context import Services

EVERY = 0.5
"""Seconds between two looks at the tunnels."""
FLUSH_SECONDS = 60.0
"""Seconds after which the counters of the cache are brought up to date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What to serve, to whom."""

    host: str = "127.0.0.1"
    port: int = 5055
    """0 takes any that is free."""
    registries: tuple[str, ...] = ()
    """More than the usual four: ``REGISTRY`` or ``REGISTRY=URL``."""
    clusters: tuple[str, ...] = ()
    offline: bool = False
    token: Secret | None = None
    open_to_all: bool = False
    """Listen beyond the loopback without a token."""
    status_line: bool = False
    """Whether the screen redraws: then a line tells all the time what goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeResult:
    """What happened; sizes in bytes."""

    address: str
    requests: int
    sent: int
    clients: int


class _Fan:
    """Passes messages on to the screen and to whoever follows its events."""

    def __init__(self, reporter: Reporter, follow: Callable[[Message], None] | None) -> None:
        self._reporter = reporter
        self._follow = follow
        self._guard = threading.Lock()
        self.failure: Exception | None = None

    def emit(self, event: Event) -> None:
        """Hand an event on; never raises."""
        self._reporter.emit(event)
        if self._follow is None or not isinstance(event, Message) or "event" not in event.fields:
            return
        with self._guard:
            if self.failure is not None:
                return
            try:
                self._follow(event)
            except (OSError, OhmykubeError) as error:
                # The main thread ends the command; a client's request is not to blame.
                self.failure = error


def serve(
    services: Services, options: ServeOptions, follow: Callable[[Message], None] | None = None
) -> ServeResult:
    """Serve until interrupted, then return what was served.

    Args:
        services: paths, reporter, clock.
        options: what to serve.
        follow: called with each event as it happens, by one thread at a time; a failure of it
            ends the serving.

    Raises:
        UsageError: a registry, cluster or address that cannot be; no token where one is needed.
        LockedError: something else listens there.
        NotFoundError: no such cluster.
        PrerequisiteError: an add-on that is installed cannot be loaded.
    """
    _check_exposure(options)
    fan = _Fan(services.reporter, follow)
    services = replace(services, reporter=fan)
    store = Store(services.paths.cache)
    content = pull_through_cache(
        store,
        upstreams(options.registries),
        services.reporter,
        services.clock,
        sets=selection.known_sets(),
        offline=options.offline,
    )
    counts = Counts(by_blob=False)
    tokens = [options.token] if options.token else []
    with ExitStack() as stack:
        listener = stack.enter_context(
            Listener(store, content, tokens, address=(options.host, options.port), counts=counts)
        )
        running = _Running(services, fan, options, store, content=content, counts=counts)
        tunnels = [running.tunnels(stack, name) for name in options.clusters]
        address = f"http://{host_port(options.host, listener.port)}"
        running.announce(address)
        # A stop is the way it is meant to end.
        with failures.closing(running.flush), suppress(Interrupted):
            running.until_stopped(tunnels)
    stats = counts.snapshot()
    return ServeResult(
        address=address, requests=stats.requests, sent=stats.sent, clients=len(stats.by_client)
    )


class _Running:
    def __init__(
        self,
        services: Services,
        fan: _Fan,
        options: ServeOptions,
        store: Store,
        *,
        content: PullThrough,
        counts: Counts,
    ) -> None:
        self._services = services
        self._fan = fan
        self._options = options
        self._store = store
        self._content = content
        self._counts = counts
        self._counted = 0
        self._shown = ""

    def tunnels(self, stack: ExitStack, cluster: str) -> ClusterTunnels:
        """Open a listener for a cluster alone: its nodes have a token of their own."""
        session.recorded(self._services, cluster)
        token = cluster_token(self._services.state.directory(cluster))
        listener = stack.enter_context(
            Listener(self._store, self._content, [token], counts=self._counts)
        )
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ohmykube-serve-")))

        def open_tunnel(ssh_config: Path, node: str) -> NodeTunnel:
            return Tunnel(ssh_config, node, listener.port, logs / f"{node}.log")

        made = ClusterTunnels(
            self._services, cluster, open_tunnel, show_nodes=self._options.status_line
        )
        stack.callback(made.close)
        return made

    def announce(self, address: str) -> None:
        options = self._options
        about = " from the cache alone" if options.offline else ""
        if options.status_line:
            title = f"Serving {address}{about}"
            self._services.reporter.emit(StepStarted(step="serve", title=title))
        else:
            self._say(f"serving {address}{about}; Ctrl-C ends it", event="listening", url=address)
        if not ipaddress.ip_address(options.host).is_loopback:
            with_token = "with the token" if options.token else "WITHOUT a token"
            self._say(
                f"{options.host} can be reached from other machines, {with_token}; it is not"
                " encrypted",
                level="warning",
                event="exposed",
            )

    def until_stopped(self, tunnels: Sequence[ClusterTunnels]) -> None:
        flushed = self._services.clock.now()
        while self._fan.failure is None:
            for one in tunnels:
                one.update()
            self._show(tunnels)
            if self._services.clock.now() - flushed >= FLUSH_SECONDS:
                flushed = self._services.clock.now()
                self.flush()
            self._services.clock.sleep(EVERY)
        raise self._fan.failure

    def _show(self, tunnels: Sequence[ClusterTunnels]) -> None:
        if not self._options.status_line:
            return
        stats = self._counts.snapshot()
        parts = [
            amounts.count(stats.requests, "request"),
            f"{amounts.size(stats.sent)} sent",
        ]
        if self._content.fetching:
            parts.append(f"fetching {self._content.fetching}")
        parts += [f"{one.cluster}: {len(one)} of {one.nodes} tunnels" for one in tunnels]
        text = ", ".join(parts)
        if text != self._shown:
            self._shown = text
            self._services.reporter.emit(ItemProgress(item="mirror", activity=text))

    def flush(self) -> None:
        sent = self._counts.snapshot().sent
        if sent > self._counted:
            self._store.count("bytes_out", sent - self._counted)
        self._counted = sent

    def _say(self, text: str, *, level: str = "info", **fields: str) -> None:
        self._services.reporter.emit(Message(text=text, level=level, fields=fields))


def _check_exposure(options: ServeOptions) -> None:
    try:
        address = ipaddress.ip_address(options.host)
    except ValueError as error:
        raise UsageError(
            f'"{options.host}" is no address to listen at',
            why=str(error),
            hint="ohmykube cache serve --listen 127.0.0.1:5055",
            id="OMK-I-607",
        ) from error
    if not address.is_loopback and options.token is None and not options.open_to_all:
        raise UsageError(
            f"{options.host} can be reached from other machines and there is no token",
            why="whoever reaches it could pull with the logins of this host",
            hint="ohmykube cache serve --token-file FILE\n"
            "or ohmykube cache serve --open-to-all  (if that is what you want)",
            id="OMK-I-605",
        )
