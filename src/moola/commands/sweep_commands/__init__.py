"""Commands of `moola sweep`, one file each."""
