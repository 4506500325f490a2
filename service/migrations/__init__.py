"""How the tables came to be, one revision after another; run by `service.database.upgrade`.

To change a table, change it in `service/database.py`, and write the step from the last revision
below `versions/`. A released revision never changes.
"""
