"""How people use taggram: the command line, and what stands behind its commands."""
