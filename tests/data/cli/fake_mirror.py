"""`cache serve` without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ohmykube.progress import Message

if TYPE_CHECKING:
    from ohmykube.workflows.serve import ServeOptions, ServeResult

HEX = "sha256:" + "a" * 64


class FakeMirror:
    """Tells of what it is asked to, and ends."""

    def __init__(self, events: tuple[str, ...] = ()) -> None:
        self.events = events
        self.options: ServeOptions | None = None

    def serve(self, services, options, follow=None) -> ServeResult:
        from ohmykube.workflows.serve import ServeResult

        self.options = options
        for event in self.events:
            fields = {"event": event, "image": "docker.io/a", "digest": HEX, "bytes": "7"}
            message = Message(text=f"{event} docker.io/a", fields=fields)
            services.reporter.emit(message)
            if follow is not None:
                follow(message)
        return ServeResult(address="http://127.0.0.1:5055", requests=3, sent=7_000_000, clients=1)
