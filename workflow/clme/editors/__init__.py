"""The editors, one file each."""
