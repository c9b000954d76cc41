"""A durable e-mail delivery engine that an async Python application carries inside itself."""
