"""A commented cluster file that says what the defaults are."""

from __future__ import annotations

from ohmykube.model import names, versions

_TEXT = """\
# A cluster for `ohmykube up -f cluster.yaml`. Everything below is a default: keep what you change.
# All fields with units and defaults: docs/configuration.md or `ohmykube config schema`.
apiVersion: ohmykube.dev/v1
kind: Cluster
metadata:
  name: dev                    # {rule}
spec:
  kubernetes:
    version: "{default}"          # supported: {supported}; quote it

  provider:
    name: auto                 # auto | lima | nspawn | ssh
    # options:                 # only for name: lima
    #   image: ubuntu-24.04    # or debian-12, debian-13, rocky-9, rocky-10, a URL, a path
    #   disks: {{"*": [20GiB]}}  # further raw disks, by node name
    # ssh:                     # only for name: ssh; each host may say otherwise
    #   inventory: hosts.ini   # Ansible inventory with kube_control_plane and kube_node
    #   user: root
    #   port: 22
    #   identityFile: ~/.ssh/id_ed25519
    #   jump: admin@bastion.example.com:22
    #   become: false          # sudo without a password

  nodes:
    controlPlane:
      count: 1                 # 1, 3 or 5
      cpus: 2                  # cores, fractions allowed; null: no limit
      memory: 4GiB             # MiB, GiB, MB, GB; null: no limit
      disk: 20GiB              # for providers that make disks
      labels: {{}}
      # taints: []             # not given: kubeadm's own; []: workloads may run here
      # files:                 # text files that are there before kubeadm runs
      #   - path: /etc/kubernetes/scheduler/config.yaml
      #     mode: "0600"
      #     content: "..."     # or source, a local file
    workers:                   # one group, or a list of groups
      count: 2
      cpus: 2
      memory: 4GiB
      disk: 20GiB
      labels: {{}}
      # taints: ["dedicated=gpu:NoSchedule"]
      # hosts:                 # only for provider ssh, instead of count
      #   - address: 192.0.2.11
      #     nodeIP: 10.0.0.11
      #     containerdTakeover: false  # whether a docker's containerd may be replaced

  network:
    podCIDR: 10.244.0.0/16     # each node gets a /24 | auto | [10.244.0.0/16, "fd00:10:244::/56"]
    serviceCIDR: 10.96.0.0/16  # or auto | [10.96.0.0/16, "fd00:10:96::/112"]
    machineCIDR: auto          # of the machines, for provider nspawn
    # mtu: 1400                # of the way between nodes, where cards say more
    dnsDomain: cluster.local
    cni: flannel               # an add-on that is a pod network | none
    flannel:
      backend: vxlan           # vxlan | host-gw
    proxyMode: iptables        # iptables | nftables
    # apiServerEndpoint: lb.example.com:6443
    certSANs: []               # further names in the API server's certificate
    # egress: full             # full | none | [10.0.0.0/8, registry.example.com]
    hostAccess: none           # none | [5432]: ports of this host's own loopback

  kubeadm:                     # merged over ours
    initConfiguration: {{}}
    joinConfiguration: {{}}
    clusterConfiguration: {{}}
    kubeletConfiguration: {{}}   # for example {{maxPods: 200}}
    kubeProxyConfiguration: {{}}
    # patches:                 # for what kubeadm writes
    #   - name: kube-apiserver+merge.yaml
    #     content: "{{metadata: {{labels: {{a: b}}}}}}"

  # addons:                    # ohmykube addon list
  #   - name: flannel
  #     version: "0.26.7"
  #     namespace: kube-system # where that can be chosen
  #     values: {{}}             # the add-on's own settings

  # mounts:                  # directories and files of this host that nodes see
  #   - host: ./src            # relative to this file
  #     node: /src
  #     readOnly: false
  #     nodes: all             # all | controlPlane | workers | [w1]

  trust: []                  # authorities: [company-ca.pem]

  # proxy: host              # that of HTTPS_PROXY and so on here, or
  #   http: http://proxy.example.com:3128
  #   https: http://proxy.example.com:3128
  #   noProxy: [.example.com]
  #   auth: {{username: me, passwordEnv: PROXY_PASSWORD}}

  # registries:              # how nodes ask image registries, by name
  #   docker.io:
  #     mirrors: [https://mirror.gcr.io]
  #   registry.example.com:5000:
  #     ca: registry-ca.pem
  #     auth: {{username: me, passwordEnv: REGISTRY_PASSWORD}}

  artifacts:
    sources: [mirror, upstream, build]
    # mirror: https://mirror.example.com/ohmykube
    # registries:              # mirrors that this host asks, not the nodes
    #   docker.io: [https://mirror.gcr.io]

  # ports: ["8080:80"]         # [ADDRESS:]HOST:NODE[/udp]: ports of this host to the nodes

  template: auto               # auto | build | never
"""


def text() -> str:
    """Return the text of a cluster file that equals the defaults."""
    return _TEXT.format(
        rule=names.RULE, default=versions.DEFAULT, supported=", ".join(versions.PATCHES)
    )
