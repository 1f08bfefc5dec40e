/* Probes: decoding with located errors. */
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http.h"

struct probe_text {
    struct probe probe;
    const char *kind, *connection;
    const struct node *expect;
};

#define PROBE_FIELD(key, type, member, is_required, min, max)                                                \
    {                                                                                                        \
        key, type, offsetof(struct probe_text, member), is_required, min, max                                \
    }

static const struct field probe_fields[] = {
    PROBE_FIELD("name", FIELD_NAME, probe.name, true, 0, 0),
    PROBE_FIELD("kind", FIELD_NAME, kind, true, 0, 0),
    PROBE_FIELD("url", FIELD_STRING, probe.url, true, 1, 2048),
    PROBE_FIELD("interval_ms", FIELD_INTEGER, probe.interval_msec, true, 50, 60000),
    PROBE_FIELD("timeout_ms", FIELD_INTEGER, probe.timeout_msec, true, 10, 20 * 60000),
    PROBE_FIELD("unhealthy_after", FIELD_INTEGER, probe.unhealthy_after, false, 1, 100),
    PROBE_FIELD("healthy_after", FIELD_INTEGER, probe.healthy_after, false, 1, 100),
    PROBE_FIELD("stable_s", FIELD_INTEGER, probe.stable_sec, false, 1, 3600),
    PROBE_FIELD("connection", FIELD_NAME, connection, false, 0, 0),
    PROBE_FIELD("expect", FIELD_MAP, expect, false, 1, 2),
    {0},
};

struct expect_text {
    const struct node *status, *json;
};

static const struct field expect_fields[] = {
    {"status", FIELD_NODE, offsetof(struct expect_text, status), false, 0, 0},
    {"json", FIELD_MAP, offsetof(struct expect_text, json), false, 1, 64},
    {0},
};

static int probe_decode_status(struct probe *probe, const struct document *document, const struct node *node,
                               struct error *error)
{
    const char *digits = "0123456789", *text = node->type == DOCUMENT_STRING ? node->string : "";

    if (node->type == DOCUMENT_INTEGER) {
        probe->status_min = probe->status_max = node->integer;
    } else if (strlen(text) == 7 && strspn(text, digits) == 3 && text[3] == '-' &&
               strspn(text + 4, digits) == 3) {
        probe->status_min = strtol(text, NULL, 10);
        probe->status_max = strtol(text + 4, NULL, 10);
    } else {
        return node_error(document, node, error,
                          "expected a status such as 200, or a range such as \"200-399\"");
    }
    if (probe->status_min < 100 || probe->status_max > 599 || probe->status_min > probe->status_max)
        return node_error(document, node, error, "expected a status from 100 to 599, the smaller one first");
    return 0;
}

/* RFC 6901 section 3: empty, or reference tokens that each start with `/`; `~` only as `~0` and `~1`. */
static bool pointer_is_valid(const char *pointer)
{
    if (*pointer && *pointer != '/')
        return false;
    for (const char *c = pointer; *c; c++)
        if (*c == '~' && c[1] != '0' && c[1] != '1')
            return false;
    return true;
}

static int probe_decode_expect(struct probe *probe, const struct document *document, const struct node *node,
                               struct error *error)
{
    struct expect_text text = {0};
    int r;

    r = node_decode(document, node, expect_fields, &text, error);
    if (r < 0)
        return r;
    if (text.status) {
        r = probe_decode_status(probe, document, text.status, error);
        if (r < 0)
            return r;
    }
    for (const struct node *i = text.json ? text.json->first : NULL; i; i = i->next)
        if (!pointer_is_valid(i->key))
            return node_error(document, i, error, "expected a JSON pointer such as /DatabaseConnectivity");
    probe->assertions = text.json;
    return 0;
}

int probe_decode(struct probe *ret, const struct document *document, const struct node *node,
                 struct error *error)
{
    struct probe_text text = {
        .probe =
            {.unhealthy_after = 2, .healthy_after = 2, .stable_sec = 3, .status_min = 200, .status_max = 200},
        .connection = "fresh",
    };
    int r;

    r = node_decode(document, node, probe_fields, &text, error);
    if (r < 0)
        return r;
    if (strcmp(text.kind, "http"))
        return node_error(document, node_get(node, "kind"), error, "expected http");
    if (text.probe.timeout_msec > 20 * text.probe.interval_msec)
        return node_error(document, node_get(node, "timeout_ms"), error,
                          "expected at most 20 times the interval, %ld",
                          (long)(20 * text.probe.interval_msec));
    text.probe.is_fresh = !strcmp(text.connection, "fresh");
    if (!text.probe.is_fresh && strcmp(text.connection, "kept"))
        return node_error(document, node_get(node, "connection"), error, "expected fresh or kept");
    if (text.expect)
        r = probe_decode_expect(&text.probe, document, text.expect, error);
    if (r == 0)
        r = probe_http_check(&text.probe, document, node, error);
    if (r == 0)
        *ret = text.probe;
    return r;
}
