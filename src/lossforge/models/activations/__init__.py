"""Activations that are special functions, as torch modules: one family a file, all by name in ``registry``.

Within ``models/`` the networks take them; other rooms use of them ``registry`` alone.
"""
