"""Reads what the rest does and explains it: exposure, doctor, drift. Nothing here changes anything."""
