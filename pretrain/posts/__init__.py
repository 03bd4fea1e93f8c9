"""Posts: one record per photo, the files they come in, and what was passed over."""
