"""The demo's clips, from a small grammar to the files that training reads."""
