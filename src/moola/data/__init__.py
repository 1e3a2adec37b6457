"""Bars in: sources, the memory-mapped bar store, windows by index, batches on the device, splits that do not leak."""
