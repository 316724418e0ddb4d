"""The demo's videos and captions, generated from a small grammar."""
