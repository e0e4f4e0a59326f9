"""A tagged collection on disk: made, kept whole, and asked."""
