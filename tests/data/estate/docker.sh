#!/bin/sh
# What a distribution's containerd and docker are made of, as far as it concerns us: docker.sh URL TOKEN.
set -e
mkdir -p /root/theirs /etc/containerd
python3 - "$1" "$2" <<'END'
import io, sys, tarfile, urllib.request
url = sys.argv[1] + ("&" if "?" in sys.argv[1] else "?") + "enc=identity"
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + sys.argv[2]})
archive = tarfile.open(fileobj=io.BytesIO(urllib.request.urlopen(request).read()))
archive.extractall("/root/theirs")
END
for name in containerd containerd-shim-runc-v2 ctr runc; do
  install -m 755 "$(find /root/theirs -type f -name $name)" /usr/bin/$name
done
rm -r /root/theirs
cat >/etc/containerd/config.toml <<'END'
version = 2
# of docker
disabled_plugins = ["io.containerd.grpc.v1.cri"]
END
chmod 640 /etc/containerd/config.toml
cat >/lib/systemd/system/containerd.service <<'END'
[Service]
ExecStart=/usr/bin/containerd
Type=notify
Delegate=yes
KillMode=process
[Install]
WantedBy=multi-user.target
END
systemctl enable --now containerd
mkdir -p /srv/app/usr /srv/app/proc /srv/app/sys /srv/app/dev
for name in bin sbin lib lib64; do ln -s usr/$name /srv/app/$name; done
ctr -n moby run -d --rootfs --mount type=bind,src=/usr,dst=/usr,options=rbind:ro /srv/app app /usr/bin/sleep 100000
