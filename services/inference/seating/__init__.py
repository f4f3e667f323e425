"""Who may generate now, and who is next."""
