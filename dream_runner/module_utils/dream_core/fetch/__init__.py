"""Fetch large files by sha256 and never download a byte twice. See docs/developer/fetch.md.

The digest identifies a file; sources only deliver bytes. Verified bytes survive kill -9, power
loss, a change of source and a full disk.

Start with ``fetcher.fetch`` and ``request.FetchRequest``; ``stamp`` and ``partial`` report what is
already present. Nothing is imported here, because a run without changes needs only those two.
"""
