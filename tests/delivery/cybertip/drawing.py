"""Reports at random, drawn from the declarations themselves."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from types import NoneType, UnionType
from typing import Union, get_args, get_origin, get_type_hints

from delivery.cybertip.samples import TEST
from hypothesis import strategies as st

from hashmatch.delivery.cybertip import files, incidents, people, report
from hashmatch.delivery.cybertip.element import Element, parts
from hashmatch.delivery.cybertip.files import NameValuePair
from hashmatch.delivery.cybertip.incidents import EmailIncident, NewsgroupIncident
from hashmatch.delivery.cybertip.people import Email
from hashmatch.delivery.cybertip.rules import (
    BirthDate,
    Degrees,
    EmailAddress,
    IpAddress,
    Like,
    OneOf,
    Past,
    Text,
    Url,
    Whole,
)
from hashmatch.delivery.cybertip.terms import Environment, ReportId

NASTY = [
    *(
        "",
        " ",
        "a",
        "US",
        "NV",
        "\x00",
        "\x0b",
        "\ud800",
        "\uffff",
        "]]>",
        "<a/>&amp;",
        "\r\n\t",
        "😀" * 60,
        "x" * 2100,
    ),
    *("a@example.com", "https://app.example/", "192.0.2.1", "::ffff:192.0.2.1", "+1", "123", "MD5", "TX", "GB", "A1"),
]
"""Text that users write, and that XML or the service may not take."""

EMAILS = st.sampled_from(["a@example.com", "b.c+d@mail.example.org", "ä@exämple.example"])
URLS = st.sampled_from(["https://app.example/u/1?a=b&c=d#e", "http://[2001:db8::1]:8080/", "ftp://files.example/a"])


def well_formed(rule, kind):
    """Values that one field may hold."""
    match rule:
        case Text():
            legal = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
            return st.text(legal, min_size=1, max_size=min(rule.limit // 2, 12)).filter(str.strip)
        case Like():
            return st.from_regex(rule.pattern, fullmatch=True, alphabet="+0123456789").filter(
                lambda text: len(text) <= rule.limit
            )
        case OneOf():
            return st.sampled_from(sorted(rule.codes))
        case Url():
            return URLS
        case EmailAddress():
            return EMAILS
        case IpAddress():
            return st.ip_addresses().map(str)
        case Past():
            zones = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
            return st.datetimes(datetime(1970, 1, 2), datetime(2026, 10, 1), timezones=zones)
        case BirthDate():
            return st.dates(date(1900, 1, 1), date(2026, 10, 1))
        case Whole():
            return st.integers(rule.low, rule.high)
        case Degrees():
            return st.floats(-rule.limit, rule.limit)
    return st.builds(ReportId, st.integers(1, 2**63 - 1), st.just(TEST)) if kind is ReportId else st.from_type(kind)


def hostile(rule, kind):
    """Values that keep to a field's type and to nothing else."""
    if kind is str:
        return st.sampled_from(NASTY) | st.text(max_size=8)
    if kind is datetime:
        return st.datetimes(datetime(1900, 1, 1), datetime(2030, 1, 1), timezones=st.sampled_from([None, UTC]))
    if kind is ReportId:
        return st.builds(ReportId, st.integers(-1, 2**64), st.sampled_from(Environment))
    return st.from_type(kind)


def drawn(kind, leaf):
    """Elements of a class, whole trees of them; `leaf` makes the values of single fields."""
    hints = get_type_hints(kind)
    rules = {part.field: part.rule for part in parts(kind)}
    elements = st.builds(kind, **{name: _field(hint, rules[name], leaf) for name, hint in hints.items()})
    return elements if leaf is hostile else elements.filter(lambda element: not list(element.conflicts()))


def _field(hint, rule, leaf):
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        absent = st.none() if NoneType in get_args(hint) else st.nothing()
        return absent | st.one_of([_field(kind, rule, leaf) for kind in kinds])
    if get_origin(hint) is tuple:
        least = 1 if get_args(hint)[0] is NameValuePair else 0
        return st.lists(_field(get_args(hint)[0], rule, leaf), min_size=least, max_size=2).map(tuple)
    if get_origin(hint) is frozenset:
        return st.frozensets(st.sampled_from(get_args(hint)[0]))
    if issubclass(hint, Element):
        return st.deferred(lambda: drawn(hint, leaf))
    return leaf(rule, hint)


def consistent(report):
    """The report with what its elements owe each other."""
    people = (*report.persons_or_users_reported[:1], *report.intended_recipients, *report.victims)
    theirs = tuple(email for one in people if one.person is not None for email in one.person.emails)
    incidents = tuple(
        replace(one, email_addresses=theirs[:2]) if isinstance(one, EmailIncident | NewsgroupIncident) else one
        for one in report.internet_details
    )
    person = report.reporter.reporting_person
    return replace(
        report,
        batched_report=None,
        internet_details=incidents,
        reporter=replace(report.reporter, reporting_person=replace(person, emails=(Email("a@example.com"),))),
        persons_or_users_reported=report.persons_or_users_reported[:1],
    )


def leaves(element):
    """Where single values stand in a tree, each with its rule and type; as `with_leaf` takes it."""
    hints = get_type_hints(type(element))
    for part in parts(type(element)):
        value = getattr(element, part.field)
        for number, one in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(one, Element):
                yield from ((part.field, number, *rest) for rest in leaves(one))
            elif one is not None and not isinstance(one, frozenset):
                yield part.field, number, (part.rule, _kind(hints[part.field]))


def with_leaf(element, place, new):
    """The tree with one value changed."""
    field, number, *rest = place
    value = getattr(element, field)
    if isinstance(value, tuple):
        one = with_leaf(value[number], rest, new) if rest else new
        return replace(element, **{field: (*value[:number], one, *value[number + 1 :])})
    return replace(element, **{field: with_leaf(value, rest, new) if rest else new})


def _kind(hint):
    return next((kind for kind in get_args(hint) if kind not in (NoneType, ...)), hint)


def classes():
    """Every class that is an element."""
    modules = (files, incidents, people, report)
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    return sorted((kind for kind in kinds if issubclass(kind, Element) and kind is not Element), key=str)
