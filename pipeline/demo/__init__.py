"""The demo that ``app.py`` serves.

``shelf`` has the runs and the one model in memory, ``answers`` what is said of a tweet, ``batch`` what is done with a
file, ``evaluations`` the reports of a run; none of them knows of a page. ``page`` is the page and ``serving`` the
server, the only home of gradio; ``guard`` stands before both and lets nothing pass that they have no use for.
"""
