"""What was found, as Python code and LaTeX."""
