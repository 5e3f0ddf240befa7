"""The content of files: text, JSON, .env, the ends of logs, digests."""
