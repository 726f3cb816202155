"""A search: its loop and generations, scores, the hall of fame, and the recorder that trains what is missing."""
