"""Where an index is kept: a folder with SQLite, or a PostgreSQL database."""
