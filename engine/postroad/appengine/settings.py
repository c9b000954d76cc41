"""What `mail.configure` sets for the checks of this package; the service's own settings are the service's.

`strict_headers = True` brings back the original's check of header names: its nine names, case and all.  Read at every check.
"""

strict_headers = False
