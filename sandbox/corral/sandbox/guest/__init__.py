"""The program inside the container: a zygote that forks sessions, and the session that runs cells.

It is copied into the container and imported there as `guest`, so it uses nothing but the standard library, runs on
Python 3.9 and later, and imports its own modules relatively. Nothing here is trusted by the host: code in a cell may
rewrite all of it. What holds a session is what it gave up before the first cell (`hardening`) and what the host checks.
"""
