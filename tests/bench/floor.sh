#!/usr/bin/env bash
# The floor: the same cluster by hand, in the shortest honest way, with everything on disk already.
# Plain systemd-nspawn, ssh, ctr and kubeadm, all in parallel; no Ansible, no checks, no repair.
# `ohmykube up` is measured against it in the same run (run.py).
#
#   floor.sh up KIT WORK [WORKERS]   KIT: base/ bin/ images.tar made by kit.py; prints "SECONDS  PHASE"
#   floor.sh down WORK               ends the nodes and undoes every mount, namespace and cgroup
set -euo pipefail

VERB=${1:?up or down}
NETNS=omk-floor
SUBNET=10.87.0
CONTROLLERS="cpu cpuacct cpuset memory devices freezer blkio pids systemd unified"

ssh_to() { # ADDRESS COMMAND...
  local address=$1
  shift
  ip netns exec "$NETNS" ssh -i "$WORK/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -o ConnectTimeout=2 "root@$address" "$@"
}

address_of() { # cp1 -> .11, w1 -> .12, w2 -> .13
  case $1 in cp1) echo "$SUBNET.11" ;; w*) echo "$SUBNET.$((11 + ${1#w}))" ;; esac
}

enter_cgroups() { # NODE: this shell moves into a cgroup of the node's own in every hierarchy
  local controller group
  for controller in $CONTROLLERS; do
    [ -d "/sys/fs/cgroup/$controller" ] || continue
    group=/sys/fs/cgroup/$controller/omk-floor/$1
    mkdir -p "$group"
    if [ "$controller" = cpuset ]; then
      for part in "${group%/*}" "$group"; do
        cat /sys/fs/cgroup/cpuset/cpuset.cpus >"$part/cpuset.cpus"
        cat /sys/fs/cgroup/cpuset/cpuset.mems >"$part/cpuset.mems"
      done
    fi
    echo $BASHPID >"$group/cgroup.procs" 2>/dev/null || true
  done
}

node_files() { # NODE ADDRESS ROOT
  local root=$3
  mkdir -p "$root"/{root/.ssh,etc/containerd,etc/cni/net.d,opt/cni/bin,etc/ssh,usr/local/bin}
  mkdir -p "$root"/var/lib/{containerd,kubelet,etcd} "$root/etc/systemd/system/kubelet.service.d"
  install -m 600 "$WORK/key.pub" "$root/root/.ssh/authorized_keys"
  echo "$1" >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n%s %s\n' "$2" "$1" >"$root/etc/hosts"
  echo "nameserver $SUBNET.1" >"$root/etc/resolv.conf"
  ssh-keygen -q -t ed25519 -N '' -f "$root/etc/ssh/ssh_host_ed25519_key"
  cp "$KIT"/bin/{kubeadm,kubelet,kubectl,containerd,containerd-shim-runc-v2,ctr,runc} "$root/usr/local/bin/"
  cp "$KIT"/bin/{bridge,host-local,loopback,portmap} "$root/opt/cni/bin/"
  cat >"$root/etc/containerd/config.toml" <<TOML
version = 3
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '$PAUSE'
TOML
  cat >"$root/etc/systemd/system/containerd.service" <<'UNIT'
[Service]
ExecStartPre=/bin/sh -c 'for c in cpu cpuacct cpuset memory devices freezer blkio pids; do mount -o remount,bind,rw /sys/fs/cgroup/$c || true; done'
ExecStart=/usr/local/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
[Install]
WantedBy=multi-user.target
UNIT
  cat >"$root/etc/systemd/system/kubelet.service" <<'UNIT'
[Unit]
# As upstream's own unit: it ends at once until kubeadm has written what it reads.
StartLimitIntervalSec=0
[Service]
Environment="KUBE=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
ExecStart=/usr/local/bin/kubelet $KUBE --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS
Restart=always
RestartSec=2
[Install]
WantedBy=multi-user.target
UNIT
}

boot() { # NODE: never returns; becomes the node's systemd-nspawn
  local node=$1 address place=$WORK/nodes/$1
  address=$(address_of "$node")
  mkdir -p "$place"/{upper,work,root,containerd,kubelet,etcd}
  mount -t overlay overlay -o "lowerdir=$KIT/base,upperdir=$place/upper,workdir=$place/work" "$place/root"
  node_files "$node" "$address" "$place/root"
  ip netns add "$NETNS.$node"
  ip link add "$node" netns "$NETNS" type veth peer name eth0 netns "$NETNS.$node"
  ip -n "$NETNS" link set "$node" master br0 up
  ip -n "$NETNS.$node" addr add "$address/24" dev eth0
  ip -n "$NETNS.$node" link set lo up
  ip -n "$NETNS.$node" link set eth0 up
  ip -n "$NETNS.$node" route add default via "$SUBNET.1"
  enter_cgroups "$node"
  SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 exec systemd-nspawn --quiet --register=no --keep-unit --boot \
    --directory="$place/root" --machine="$node" --network-namespace-path="/run/netns/$NETNS.$node" \
    --resolv-conf=off --capability=all --bind=/dev/kmsg \
    --system-call-filter='@keyring bpf @mount @privileged perf_event_open' \
    --bind="$place/containerd:/var/lib/containerd" --bind="$place/kubelet:/var/lib/kubelet" \
    --bind="$place/etcd:/var/lib/etcd"
}

mark() { awk -v from="$BEGIN" -v now="$(date +%s%N)" -v phase="$1" 'BEGIN { printf "%6.1f  %s\n", (now - from) / 1e9, phase }'; }

on_all() { # COMMAND, on every node at once
  local node pids=()
  for node in $NODES; do
    ssh_to "$(address_of "$node")" "$1" &
    pids+=($!)
  done
  wait "${pids[@]}"
}

kubeadm_documents() {
  cat <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: abcdef.0123456789abcdef, ttl: 1h0m0s}]
localAPIEndpoint: {advertiseAddress: $SUBNET.11}
nodeRegistration: {name: cp1, imagePullPolicy: Never, ignorePreflightErrors: [SystemVerification, Swap, ImagePull, FileContent--proc-sys-net-bridge-bridge-nf-call-iptables]}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v$KUBERNETES
controlPlaneEndpoint: $SUBNET.11:6443
networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/16}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
conntrack: {maxPerCore: 0, min: 0}
YAML
}

up() {
  local workers=${1:-2} node number control imports=() joins=()
  control=$(address_of cp1)
  NODES=cp1
  for number in $(seq 1 "$workers"); do NODES+=" w$number"; done
  mkdir -p "$WORK/nodes"
  [ -f "$WORK/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$WORK/key"
  BEGIN=$(date +%s%N)
  ip netns add "$NETNS"
  ip -n "$NETNS" link set lo up
  ip -n "$NETNS" link add br0 type bridge
  ip -n "$NETNS" addr add "$SUBNET.1/24" dev br0
  ip -n "$NETNS" link set br0 up
  for node in $NODES; do (boot "$node" </dev/null >"$WORK/nodes/$node.log" 2>&1 &); done
  for node in $NODES; do
    for _ in $(seq 300); do
      if ssh_to "$(address_of "$node")" true 2>/dev/null; then break; fi
      sleep 0.2
    done
  done
  mark "nodes answer ssh"
  on_all 'sysctl -qw net.ipv4.ip_forward=1; systemctl daemon-reload; systemctl enable -q --now containerd; systemctl enable -q kubelet'
  mark "containerd runs"
  for node in $NODES; do
    [ "$node" = cp1 ] && continue
    ssh_to "$(address_of "$node")" 'ctr -n k8s.io images import - >/dev/null 2>&1' <"$KIT/images.tar" &
    imports+=($!)
  done
  ssh_to "$control" 'ctr -n k8s.io images import - >/dev/null 2>&1' <"$KIT/images.tar"
  mark "images on the control plane"
  kubeadm_documents | ssh_to "$control" 'cat >/root/kubeadm.yaml; kubeadm init --config /root/kubeadm.yaml --skip-token-print >/root/init.log 2>&1'
  ssh_to "$control" 'kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f - >/dev/null' <"$KIT/flannel.yaml"
  mark "control plane answers"
  [ ${#imports[@]} = 0 ] || wait "${imports[@]}"
  for node in $NODES; do
    [ "$node" = cp1 ] && continue
    ssh_to "$(address_of "$node")" "kubeadm join $control:6443 --node-name $node --token abcdef.0123456789abcdef --discovery-token-unsafe-skip-ca-verification --ignore-preflight-errors=SystemVerification >/root/join.log 2>&1" &
    joins+=($!)
  done
  [ ${#joins[@]} = 0 ] || wait "${joins[@]}"
  mark "workers joined"
  ssh_to "$control" "for _ in \$(seq 600); do [ \$(kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes --no-headers | grep -cw Ready) = $((workers + 1)) ] && exit 0; sleep 0.3; done; exit 1"
  mark "all nodes Ready"
  ssh_to "$control" 'kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system rollout status deploy/coredns --timeout=180s >/dev/null'
  mark "cluster DNS available"
}

down() {
  local place node controller
  for place in "$WORK"/nodes/*/; do
    [ -d "$place" ] || continue
    node=$(basename "$place")
    for _ in 1 2 3 4 5; do
      find /sys/fs/cgroup/{pids,systemd}/omk-floor/"$node" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | xargs -r kill -9 2>/dev/null || true
      sleep 0.2
    done
    awk -v below="${place%/}/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n1 umount -l
    ip netns del "$NETNS.$node" 2>/dev/null || true
    for controller in $CONTROLLERS; do
      find "/sys/fs/cgroup/$controller/omk-floor/$node" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
    rm -rf "${place%/}"
  done
  ip netns del "$NETNS" 2>/dev/null || true
  for _ in $(seq 25); do # a group whose last process has just died stays busy for a moment
    for controller in $CONTROLLERS; do
      find "/sys/fs/cgroup/$controller/omk-floor" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
    compgen -G '/sys/fs/cgroup/*/omk-floor' >/dev/null || return 0
    sleep 0.2
  done
  echo "cgroups of the floor are still there" >&2
  return 1
}

case $VERB in
up)
  KIT=${2:?kit} WORK=${3:?work directory}
  # shellcheck source=/dev/null
  . "$KIT/versions.env" # KUBERNETES PAUSE
  up "${4:-2}"
  ;;
down)
  WORK=${2:?work directory}
  down
  ;;
*)
  sed -n '2,8s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
