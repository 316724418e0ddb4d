"""Videos as one row a second: their features, windows of them, and files of labels and steps."""
