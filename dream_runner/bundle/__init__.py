"""Create bundles: everything an air-gapped host needs, in one directory.

dream_core/bundle/contents.py defines their content and verifies it.
"""
