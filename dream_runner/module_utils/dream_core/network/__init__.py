"""The network of a host: listeners, proxies and what pip is configured for."""
