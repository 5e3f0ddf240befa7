"""Machines to test on: bare Debian nodes in containers, made here from Debian's packages."""
