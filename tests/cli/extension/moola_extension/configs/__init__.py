"""Configuration that joins the search path."""
