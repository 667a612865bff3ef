"""Our own checkpoint layout. What other projects call things does not stand here."""
