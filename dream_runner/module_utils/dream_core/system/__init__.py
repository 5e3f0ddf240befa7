"""The operating system of a host: files, processes, accounts, filesystems, systemd."""
