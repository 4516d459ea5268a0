"""Hostile texts on every page of the admin: inert under the content security policy, and no overflow."""

from auditlog.models import LogEntry
from axes.models import AccessAttempt

from messages_api.models import Route, RouteTarget, Upstream
from staff.models import Login
from tests.browser.conftest import Visitor
from tests.support.usage_rows import UsageRecorder

HOSTILE = '"><script>document.title = "caught"</script><img src=x onerror="document.title = 1">'
UNBROKEN = HOSTILE[:55] + "W" * 45  # the maximum length of a name, without a possible line break

# Fields that overflow their container.
CUT_FIELDS = """[...document.querySelectorAll("#content :is(input, select, textarea, button)")]
  .filter((field) => field.offsetWidth && !field.closest(".scroll, .results, .tabular"))
  .filter((field) => field.getBoundingClientRect().right >
    field.closest("fieldset, section, form").getBoundingClientRect().right + 1)
  .map((field) => field.name || field.textContent)"""


def hostile_pages(recorder: UsageRecorder) -> list[str]:
    """Return the URLs of all kinds of pages, each with a hostile text."""
    recorder.api_key.name = UNBROKEN
    recorder.api_key.save()
    record = recorder.record(model=HOSTILE, user_agent=HOSTILE, error_type=HOSTILE, attempts=[{"upstream": HOSTILE}])
    recorder.record(model="claude-3-opus-20240229-with-a-very-long-name-that-somebody-thought-of-" * 3)
    upstream = Upstream.objects.create(name="W" * 64, dialect="openai", base_url="http://127.0.0.1:9/v1")
    route = Route.objects.create(pattern=UNBROKEN)
    RouteTarget.objects.create(route=route, upstream=upstream, model=HOSTILE)
    entry = LogEntry.objects.filter(object_repr__startswith=HOSTILE[:20]).latest("pk")
    AccessAttempt.objects.create(
        username=HOSTILE, ip_address="2001:db8::", user_agent=HOSTILE, path_info=HOSTILE, failures_since_start=5
    )
    return [
        "/admin/",
        "/admin/hygiene/",
        "/admin/usage/?period=30d",
        "/admin/keys/",
        "/admin/keys/apikey/",
        "/admin/keys/apikey/?state=active&_facets=True",
        "/admin/keys/apikey/?q=nothing",
        "/admin/keys/apikey/add/",
        f"/admin/keys/apikey/{recorder.api_key.pk}/change/",
        f"/admin/keys/apikey/{recorder.api_key.pk}/history/",
        "/admin/keys/usagerecord/",
        f"/admin/keys/usagerecord/{record.pk.replace('_', '_5F')}/change/",
        "/admin/messages_api/upstream/",
        "/admin/messages_api/upstream/add/",
        f"/admin/messages_api/upstream/{upstream.pk}/change/",
        f"/admin/messages_api/upstream/{upstream.pk}/delete/",
        f"/admin/messages_api/upstream/{upstream.pk}/test/",
        "/admin/messages_api/route/",
        "/admin/messages_api/route/preview/?model=claude-3",
        f"/admin/messages_api/route/{route.pk}/change/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        f"/admin/auth/user/{recorder.api_key.owner_id}/change/",
        f"/admin/auth/user/{recorder.api_key.owner_id}/history/",
        "/admin/auth/group/add/",
        "/admin/password_change/",
        "/admin/staff/",
        "/admin/staff/auditentry/",
        f"/admin/staff/auditentry/{entry.pk}/change/",
        "/admin/staff/login/",
        f"/admin/staff/login/{Login.objects.latest('pk').pk}/change/",
        "/admin/staff/failedlogin/",
    ]


def test_hostile_texts_are_shown_and_do_nothing(visitor: Visitor, recorder: UsageRecorder) -> None:
    requested: list[str] = []
    origin = visitor.page.url.split("/admin/")[0]
    visitor.page.on("request", lambda request: requested.append(request.url))
    width = 390  # the narrowest supported width
    visitor.page.set_viewport_size({"width": width, "height": 900})

    for url in hostile_pages(recorder):
        page = visitor.open(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, url
        # Overflow may be hidden instead of scrolled, so the content must have most of the width.
        assert page.evaluate("document.getElementById('content').offsetWidth") > width * 0.6, url
        assert page.evaluate(CUT_FIELDS) == [], url
        assert page.title() not in ("caught", "1")
        assert visitor.console_errors == [], url

    assert requested and not [url for url in requested if not url.startswith(origin)]
