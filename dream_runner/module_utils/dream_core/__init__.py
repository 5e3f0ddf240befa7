"""Pure decisions and careful effects shared by the modules and the wrapper.

Standard library only and Python 3.9 syntax, because this code also runs under
the system Python of a managed host. Nothing here imports Ansible, prints, or
reads the environment; callers pass plain values in.
"""
