"""File transport."""
