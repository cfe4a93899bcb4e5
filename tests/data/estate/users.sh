#!/bin/sh
# A user with sudo, and ssh on another port too.
set -e
useradd -m -s /bin/sh ops
home=$(getent passwd ops | cut -d: -f6)
install -d -m 700 -o ops "$home/.ssh"
install -m 600 -o ops /root/.ssh/authorized_keys "$home/.ssh/authorized_keys"
echo 'ops ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ops
printf 'Port 22\nPort 2222\n' >/etc/ssh/sshd_config.d/20-ports.conf
systemctl restart ssh
