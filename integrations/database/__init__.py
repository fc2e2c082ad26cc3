"""What is kept in rows: the tables, their migrations, and the one seam to SQLite and PostgreSQL."""
