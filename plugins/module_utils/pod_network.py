# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Whether this node reaches the pods of its cluster: its DNS, and the other nodes' pod networks.

Python's standard library and nothing else, see ``node_state``.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import time

KUBELET_PORT = 10250
A, AAAA = 1, 28
"""Types of questions of DNS."""


def dns_answers(server, name, seconds=1, port=53, times=4):
    """Ask a DNS server for an address, several times at once; return whether all answers have one.

    A service leads questions from several ports to several pods: one out of reach is noticed. The name is of a
    service, which has an address of the cluster's primary IP family, as the server has.
    """
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    family, kind = (socket.AF_INET6, AAAA) if ":" in server else (socket.AF_INET, A)
    packet = struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0) + question + struct.pack(">2H", kind, 1)
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as opened:
        clients = []
        try:
            for _number in range(times):
                clients.append(opened.enter_context(socket.socket(family, socket.SOCK_DGRAM)))
                clients[-1].sendto(packet, (server, port))
            return all(_has_address(client, end - time.monotonic()) for client in clients)
        except (OSError, struct.error):
            return False


def _has_address(client, seconds):
    client.settimeout(max(seconds, 0.001))
    ident, flags, _questions, answers = struct.unpack(">4H", client.recv(4096)[:8])
    return ident == 4711 and flags & 15 == 0 and answers > 0


def reached(addresses, seconds=1, port=KUBELET_PORT):
    """Return those of the addresses of other nodes that answer, sorted.

    Args:
        addresses: of other nodes inside of the pod network.
        seconds: how long they may take, all together.
        port: of TCP, at which every node listens; one that refuses has answered too.
    """
    end = time.monotonic() + seconds
    found = set()
    with contextlib.ExitStack() as opened:
        selector = opened.enter_context(selectors.DefaultSelector())
        for address in sorted(set(addresses)):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            client = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            client.setblocking(False)
            begun = client.connect_ex((address, port))
            if begun == errno.EINPROGRESS:
                selector.register(client, selectors.EVENT_WRITE, address)
            elif begun in ANSWERS:
                found.add(address)
        while selector.get_map() and time.monotonic() < end:
            for key, _events in selector.select(max(end - time.monotonic(), 0)):
                selector.unregister(key.fileobj)
                if key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in ANSWERS:
                    found.add(key.data)
    return sorted(found)


ANSWERS = (0, errno.ECONNREFUSED)
"""Errors of a connection to a host that answers."""


def gateways(routes, routes6, overlays):
    """Return the next hops of routes through network cards whose names begin so.

    Args:
        routes: the text of ``/proc/net/route``.
        routes6: the text of ``/proc/net/ipv6_route``.
        overlays: starts of the names of the cards that lead to pods of other nodes.
    """
    rows = [line.split() for line in routes.splitlines()[1:]]
    rows6 = [line.split() for line in routes6.splitlines()]
    hops = [int(row[2], 16) for row in rows if row[0].startswith(overlays)]
    hops6 = [bytes.fromhex(row[4]) for row in rows6 if row[9].startswith(overlays)]
    found = [socket.inet_ntoa(struct.pack("=L", hop)) for hop in hops if hop]
    return found + [socket.inet_ntop(socket.AF_INET6, hop) for hop in hops6 if any(hop)]
