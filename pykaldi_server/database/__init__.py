"""What a master keeps in a database: SQLite by default, PostgreSQL when asked."""
