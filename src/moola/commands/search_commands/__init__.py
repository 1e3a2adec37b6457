"""Commands of `moola search` that search nothing, one file each."""
