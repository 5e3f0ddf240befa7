"""An install on this machine: target, privileges, resume, pins."""
