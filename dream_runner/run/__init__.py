"""One run of ansible-playbook: start, events, journal, stop, lock."""
