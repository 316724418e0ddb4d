"""ActBERT's networks."""
