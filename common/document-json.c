/*
 * JSON into a document. jansson decides what is valid; it knows no places, so a small scanner goes over the
 * text before it, notes where each value stands, and refuses what is too deep or too large for us to hold.
 */
#include <errno.h>
#include <string.h>

#include "document-build.h"

struct scanner {
    const char *next, *end;
    struct place place;
    unsigned int depth;
};

static void scanner_step(struct scanner *scanner)
{
    if (scanner->next == scanner->end)
        return;
    if (*scanner->next == '\n') {
        scanner->place.line++;
        scanner->place.column = 1;
    } else if ((*scanner->next & 0xc0) != 0x80) { /* a byte that goes on a UTF-8 character is no column */
        scanner->place.column++;
    }
    scanner->next++;
}

/* Steps over what @set has, or up to that. A NUL is in no set, and ends both. */
static void scanner_skip(struct scanner *scanner, const char *set, bool is_in)
{
    while (scanner->next < scanner->end && *scanner->next && !!strchr(set, *scanner->next) == is_in)
        scanner_step(scanner);
}

static void scanner_skip_string(struct scanner *scanner)
{
    scanner_step(scanner);
    while (scanner->next < scanner->end && *scanner->next != '"') {
        if (*scanner->next == '\\')
            scanner_step(scanner);
        scanner_step(scanner);
    }
    scanner_step(scanner);
}

static bool scanner_is_at(const struct scanner *scanner, const char *set)
{
    return scanner->next < scanner->end && *scanner->next && strchr(set, *scanner->next);
}

/* A value, or a key with its value: that stands where one looks for it, at the key. */
static void scan_value(struct scanner *scanner)
{
    if (scanner_is_at(scanner, "\"")) {
        scanner_skip_string(scanner);
        scanner_skip(scanner, " \t\r\n", true);
        if (!scanner_is_at(scanner, ":"))
            return;
        scanner_skip(scanner, " \t\r\n:", true);
    }
    if (scanner_is_at(scanner, "\"")) {
        scanner_skip_string(scanner);
    } else if (scanner_is_at(scanner, "[{")) {
        scanner->depth++;
        scanner_step(scanner);
    } else {
        scanner_skip(scanner, " \t\r\n,:]}", false);
    }
}

static int scan(struct scanner *scanner, struct places *places, struct error *error)
{
    int r = 0;

    while (r == 0 && scanner->next < scanner->end) {
        if (!*scanner->next) /* jansson takes it for the end and what follows for nothing */
            return place_error(places, scanner->place, error, EINVAL, "a NUL byte");
        if (scanner_is_at(scanner, "]}") && scanner->depth)
            scanner->depth--;
        if (scanner_is_at(scanner, " \t\r\n,:]}")) {
            scanner_step(scanner);
            continue;
        }
        r = places_add(places, scanner->place, scanner->depth, error);
        if (r == 0)
            scan_value(scanner);
    }
    return r;
}

int document_parse_json(struct document **ret, const char *name, const void *text, size_t length,
                        struct error *error)
{
    _cleanup_(places_clear) struct places places = {.name = name};
    struct scanner scanner = {.next = text, .end = (const char *)text + length, .place = {1, 1}};
    json_error_t why;
    json_t *json;
    int r = scan(&scanner, &places, error);

    if (r < 0)
        return r;
    json = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!json)
        return place_error(&places,
                           (struct place){why.line > 0 ? why.line : 1, why.column > 0 ? why.column : 1},
                           error, EINVAL, "%s", why.text);
    return document_build(ret, json, &places, error);
}
