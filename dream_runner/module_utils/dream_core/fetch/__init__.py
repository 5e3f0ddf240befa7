"""Fetch big files by sha256 without ever losing a byte. See docs/developer/fetch.md.

The digest is the identity; sources are only places to get the bytes. Verified
bytes survive kill -9, power loss, a change of source and a full disk.

Begin with ``fetcher.fetch`` and ``request.FetchRequest``; ``stamp`` and ``partial`` tell what is
here already. Nothing is imported here: a run that changes nothing needs only those two.
"""
