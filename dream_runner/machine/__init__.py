"""An install on this machine: its target, its privileges, an interrupted run."""
