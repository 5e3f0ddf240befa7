"""Make bundles: everything an air-gapped host needs, in one directory.

What a bundle is, and what proves one, is dream_core/bundle/contents.py's.
"""
