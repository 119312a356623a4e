"""Reads what the rest does and explains it: exposure, doctor, drift. Nothing here changes anything.

views        what the API is told                  exposure     every way in from outside (pure)
commands     a network as commands (pure)          doctor       what is wrong with this host (pure)
firewalls    foreign chains in words (pure)        examination  reads the facts that the doctor judges
"""
