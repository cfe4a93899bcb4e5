#!/bin/sh
# Everything that any of our roles brings: what is left of it on a node, one path or name a line.
for p in kubeadm kubelet kubectl containerd ctr runc crictl; do command -v $p; done
ls -d /etc/kubernetes /etc/containerd /run/containerd /var/log/pods /etc/systemd/system/*kubelet* \
  /etc/systemd/system/*containerd* /var/lib/ohmykube/* /run/flannel /usr/libexec/kubernetes \
  /run/ohmykube-kubectl /root/.kube /etc/sysctl.d/*ohmykube* /etc/modules-load.d/*ohmykube* 2>&-
ls -d /var/lib/etcd/* /var/lib/kubelet/* /var/lib/containerd/* /etc/cni/net.d/* /opt/cni/bin/* 2>&-
ls -d /usr/local/share/ca-certificates/*ohmykube* /etc/ssl/certs/*ohmykube* 2>&-
ip -o link | grep -oE 'cni0|flannel[^ @:]*|veth[^ @:]*'
iptables-save | grep -E 'KUBE-|FLANNEL|CNI-'
nft list tables | grep -E 'kube-proxy|flannel'
grep -i ohmykube /etc/hosts
for n in kube containerd etcd flannel coredns; do pgrep -la $n; done
true
