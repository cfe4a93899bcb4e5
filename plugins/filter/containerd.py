# Copyright: the ohmykube authors
# SPDX-License-Identifier: Apache-2.0
"""Compose containerd's configuration; pure functions."""

from __future__ import annotations

import json
import re

from ansible_collections.ohmykube.cluster.plugins.plugin_utils.merge import merged

BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")
RUNTIME = "io.containerd.cri.v1.runtime"
IMAGES = "io.containerd.cri.v1.images"


def containerd_config(settings, node):
    """Return containerd's configuration (version 3) as a mapping.

    ``settings``: sandbox_image, cgroup_driver (systemd or cgroupfs), restrict_oom_score_adj (``auto`` or
    a bool), registry_config_path, stats_period (seconds), overrides.
    """
    restrict = settings["restrict_oom_score_adj"]
    if restrict == "auto":
        restrict = not node.get("cap_sys_resource", True)
    options = {"SystemdCgroup": settings["cgroup_driver"] == "systemd"}
    config = {
        "version": 3,
        "imports": ["/etc/containerd/conf.d/*.toml"],
        "plugins": {
            IMAGES: {
                "pinned_images": {"sandbox": settings["sandbox_image"]},
                "registry": {"config_path": settings["registry_config_path"]},
            },
            RUNTIME: {
                "restrict_oom_score_adj": as_bool(restrict),
                "containerd": {
                    "runtimes": {
                        "runc": {"runtime_type": "io.containerd.runc.v2", "options": options}
                    }
                },
            },
        },
    }
    period = int(settings.get("stats_period") or 1)
    if period > 1:
        # New in 2.3; see stats_collect_period of its configuration of the runtime.
        config["plugins"][RUNTIME]["stats_collect_period"] = "%ds" % period
    return merged(config, settings.get("overrides") or {})


def as_bool(value):
    """Return a bool for a bool or its usual spellings."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "yes", "on", "1")
    return bool(value)


def to_toml(table):
    """Return a mapping as TOML: plain values first, then a section for each table."""
    return "\n".join(_section(table, [])).lstrip("\n") + "\n"


def _section(table, path):
    lines = []
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    if path and (plain or not table):
        lines.append("\n[%s]" % ".".join(_key(part) for part in path))
    lines += ["%s = %s" % (_key(key), _value(value)) for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _section(value, [*path, key])
        elif _is_table(value):
            for entry in value:
                lines.append("\n[[%s]]" % ".".join(_key(part) for part in [*path, key]))
                lines += ["%s = %s" % (_key(name), _value(inner)) for name, inner in entry.items()]
    return lines


def _is_table(value):
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _key(key):
    return key if BARE_KEY.match(key) else _text(key)


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (list, tuple)):
        return "[%s]" % ", ".join(_value(item) for item in value)
    if isinstance(value, dict):
        return "{ %s }" % ", ".join(
            "%s = %s" % (_key(key), _value(item)) for key, item in value.items()
        )
    raise ValueError("TOML has no value for %r" % (value,))


def _text(text):
    """Return a basic string: it has JSON's escapes, but no surrogate pairs and no bare delete character."""
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


class FilterModule:
    """The filters of this file."""

    def filters(self):
        return {"containerd_config": containerd_config, "to_toml": to_toml}
