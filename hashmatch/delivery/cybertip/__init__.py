"""NCMEC's CyberTipline Reporting API: what is told, and the sending of it. Read in this order:

    terms.py     the service's own words: environments, report ids, every closed list of values
    rules.py     what the value of one field may be; element.py how a frozen dataclass is an element of XML
    people.py    who: persons, addresses, accounts, devices
    incidents.py where it happened, one class for each kind
    report.py    a report: the incident, who reports it, whom it concerns
    files.py     what is told of one file
    problems.py  everything wrong with a report and its files, by element; pure, and the only place that judges
    xml.py       a report to bytes, in the schema's order; an answer from bytes
    schema.py    ispws.xsd: the last check before anything is sent
    outcomes.py  how a call went, as values; errors.py the same as errors, by what may be done next
    judging.py   what HTTP's status and the service's code come to; pure
    service.py   which environment is called, as whom; body.py an upload's bytes; client.py the calls

What a report holds is about people. It is in no `repr`, no error's text and no trace; answers are not traced either,
since they may echo it.
"""
