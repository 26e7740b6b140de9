"""Shipped so that users can test their own recipes: tiny models and synthetic speech."""
