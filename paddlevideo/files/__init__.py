"""Files on a disk: written whole or not at all, locked, compared, found, named in errors."""
