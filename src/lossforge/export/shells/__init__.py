"""What is put above the functions of an exported file: read as text, and shipped word for word."""
