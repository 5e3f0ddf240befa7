"""The network of a host: listeners, proxies and pip's configuration."""
