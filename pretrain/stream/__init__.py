"""The order of photos as arithmetic, and what becomes of a photo on its way into a batch."""
