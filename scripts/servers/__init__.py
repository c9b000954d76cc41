"""Real mail servers for tests and benchmarks, from Debian's packages, unpacked beside each other and never installed.

`debian` fetches and unpacks, `postfix` lays Postfix out, `chroot` makes a root folder for what has its paths compiled in.
Needs nothing but Python's standard library: `scripts/fetch_servers.py` runs before any environment exists.
"""
