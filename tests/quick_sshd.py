"""An sshd of tests that does not compute for long at each login."""

SCRIPT = """\
echo 'KexAlgorithms -sntrup761*' >/etc/ssh/sshd_config.d/30-quick.conf
systemctl restart ssh
"""
"""Run on a machine, by root: its clients do not know that nobody records their connections, and
would take a tenth of a second of processor time for each.

A restart ends when sshd listens again, and leaves the sessions alone; a reload ends before sshd has
closed its sockets, and who comes then is refused."""
