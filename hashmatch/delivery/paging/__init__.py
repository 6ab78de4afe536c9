"""How a page reaches a person: note.py is what is told and the port of whatever carries it, then one file per channel.

Nothing here says what a case is about or whose it is: a page holds ids, a tier, and perhaps a link to the console.
Every channel may be asked twice for one page: it derives what makes a repeat harmless from the page and the person.
Channels that keep incidents (pagerduty.py, opsgenie.py) close theirs when the page is over. reaching.py tries those of
one person; whose they are is in the settings of the workflow.
"""
