"""The types of single fields of ``cluster.yaml``: what text, number or mapping each may hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictInt,
    StrictStr,
    ValidationInfo,
    WithJsonSchema,
)

from ohmykube.config import addons, node_files, values
from ohmykube.config.problems import echo
from ohmykube.model import names
from ohmykube.model.cluster import NO_CNI, Taint, TemplateUse

API_VERSION = "ohmykube.dev/v1"
KIND = "Cluster"
MOST_NODES = 100
DESIRED = "desired"
"""In the context of a validation: the document is to be brought about."""

_SIZE = r"^[0-9]+(\.[0-9]+)? ?([MGT]i?B?)$"


def _text_schema(**more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **more})


def _entry_schema(key: str, **more: Any) -> WithJsonSchema:
    text = {"type": "string"}
    properties = {key: text, **more, "content": text, "source": text, "sha256": text}
    form = {"type": "object", "properties": properties, "required": [key]}
    return WithJsonSchema({**form, "additionalProperties": False})


def _is_desired(info: ValidationInfo) -> bool:
    return bool(info.context and info.context[DESIRED])


def _choice(*known: str) -> AfterValidator:
    return AfterValidator(lambda text: values.one_of(text, known))


def empty(value: object) -> object:
    return {} if value is None else value


def _sized(value: object, convert: Any) -> object:
    if isinstance(value, str):
        return convert(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"must have a unit, such as {value}GiB or {value}MiB, got {value}")  # noqa: TRY004 - pydantic wants ValueError
    raise ValueError(f"must be a size such as 4GiB or 512MiB, got {echo(value)}")


def _network(text: str, info: ValidationInfo) -> str:
    if _is_desired(info):
        return values.one_of(text, (*addons.networks(), NO_CNI))
    return values.name(text)  # of a record: it may have been uninstalled since


def _taint(value: object) -> Taint:
    if not isinstance(value, str):
        raise ValueError(f"must be text, key=value:Effect or key:Effect, got {echo(value)}")  # noqa: TRY004 - pydantic wants ValueError
    return values.taint(value)


Name = Annotated[StrictStr, AfterValidator(values.name), _text_schema(pattern=names.PATTERN)]
HostName = Annotated[
    StrictStr,
    AfterValidator(values.host_name),
    _text_schema(pattern=names.PATTERN_OF_HOST, maxLength=names.LONGEST_OF_HOST),
]
Prefix = Annotated[StrictStr, AfterValidator(values.prefix), _text_schema(maxLength=37)]
Version = Annotated[
    StrictStr,
    AfterValidator(values.kubernetes_version),
    _text_schema(pattern=r"^v?[0-9]+\.[0-9]+(\.[0-9]+)?$"),
]
_ONE_OR_TWO = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        ]
    }
)
_OneText = BeforeValidator(values.one_text)
PodNetworks = Annotated[StrictStr, AfterValidator(values.pod_networks), _OneText, _ONE_OR_TWO]
ServiceNetworks = Annotated[
    StrictStr, AfterValidator(values.service_networks), _OneText, _ONE_OR_TWO
]
MachineNetworks = Annotated[
    StrictStr, AfterValidator(values.machine_networks), _OneText, _ONE_OR_TWO
]
NodeAddresses = Annotated[StrictStr, AfterValidator(values.node_addresses), _OneText, _ONE_OR_TWO]
Address = Annotated[StrictStr, AfterValidator(values.address)]
User = Annotated[StrictStr, AfterValidator(values.user)]
Jump = Annotated[StrictStr, AfterValidator(values.jump)]
Endpoint = Annotated[StrictStr, AfterValidator(values.endpoint)]
AlternativeName = Annotated[StrictStr, AfterValidator(values.alternative_name)]
HostKey = Annotated[StrictStr, AfterValidator(values.host_key)]
Domain = Annotated[StrictStr, AfterValidator(values.domain)]
Mirror = Annotated[StrictStr, AfterValidator(values.mirror)]
Registries = Annotated[dict[StrictStr, list[Mirror]], AfterValidator(values.registries)]
Backend = Annotated[StrictStr, _choice("vxlan", "host-gw"), _text_schema(enum=["vxlan", "host-gw"])]
Cni = Annotated[
    StrictStr,
    AfterValidator(_network),
    _text_schema(pattern=names.PATTERN, examples=["flannel", "none"]),
]
AddonVersion = Annotated[StrictStr, Field(min_length=1, max_length=60)]
UseOfTemplates = Annotated[
    StrictStr, _choice(*TemplateUse), _text_schema(enum=[use.value for use in TemplateUse])
]
SourceName = Annotated[
    StrictStr,
    AfterValidator(values.source),
    _text_schema(pattern=names.PATTERN, examples=list(values.SOURCES)),
]
ApiVersion = Annotated[StrictStr, _choice(API_VERSION), _text_schema(const=API_VERSION)]
KindName = Annotated[StrictStr, _choice(KIND), _text_schema(const=KIND)]
ProxyMode = Annotated[
    StrictStr, AfterValidator(values.proxy_mode), _text_schema(enum=["iptables", "nftables"])
]
LabelKey = Annotated[StrictStr, AfterValidator(values.label_key_of_ours)]
LabelValue = Annotated[StrictStr, AfterValidator(values.label_value), _text_schema(maxLength=63)]
TaintText = Annotated[
    Taint,
    BeforeValidator(_taint),
    _text_schema(examples=["dedicated=gpu:NoSchedule"]),
]
Memory = Annotated[
    StrictInt,
    BeforeValidator(lambda value: _sized(value, values.memory_mib)),
    _text_schema(pattern=_SIZE),
]
Disk = Annotated[
    StrictInt,
    BeforeValidator(lambda value: _sized(value, values.disk_gib)),
    _text_schema(pattern=_SIZE),
]
Cpus = Annotated[float, Field(ge=0.1, le=1024, strict=True)]
NodeFile = Annotated[
    node_files.Entry,
    BeforeValidator(lambda value, info: node_files.file_entry(value, desired=_is_desired(info))),
    _entry_schema("path", mode={"type": "string", "default": node_files.DEFAULT_MODE}),
]
Patch = Annotated[
    node_files.Entry,
    BeforeValidator(lambda value, info: node_files.patch_entry(value, desired=_is_desired(info))),
    _entry_schema("name"),
]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Mtu = Annotated[StrictInt, Field(ge=1280, le=65520)]
Count = Annotated[StrictInt, Field(ge=0, le=MOST_NODES)]
FilePath = Annotated[StrictStr, Field(min_length=1, max_length=4096)]
Certificates = Annotated[
    list[Annotated[StrictStr, Field(min_length=1, max_length=1 << 20)]], Field(max_length=50)
]
TRUST_TEXT = (
    "Certificates of authorities that nodes, their containerd and downloads trust beside those of "
    "the system: files, PEM or DER, relative to this one, or PEM itself."
)
Free = Annotated[dict[str, Any], BeforeValidator(empty)]
