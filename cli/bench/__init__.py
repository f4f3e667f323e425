"""`parley bench`, a file for each of its commands and for what they share."""
