"""Heads that stand beside a backbone's own."""
