"""The demo's videos and captions, from a small grammar: what a user brings to extraction."""
