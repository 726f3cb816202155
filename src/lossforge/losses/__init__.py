"""Losses as torch modules, and the library of named ones."""
