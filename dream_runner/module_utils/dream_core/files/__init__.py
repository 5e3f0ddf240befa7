"""What stands in files: text, JSON, .env, the ends of logs, digests."""
