"""SMTP transport."""
