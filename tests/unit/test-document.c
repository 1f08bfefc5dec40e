/* YAML and JSON to one tree: places, limits, and everything hostile refused whole. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "common/document.h"
#include "common/times.h"

static int parse(bool is_yaml, const char *text, struct document **ret, struct error *error)
{
    *ret = NULL;
    return is_yaml ? document_parse_yaml(ret, "a.yaml", text, strlen(text), error)
                   : document_parse_json(ret, "a.json", text, strlen(text), error);
}

static void assert_refused(bool is_yaml, const char *text, int code, const char *part)
{
    struct document *document;
    struct error error = {0};

    ck_assert_msg(parse(is_yaml, text, &document, &error) == -code, "%s: %s", text, error.text);
    ck_assert_ptr_null(document);
    assert_error(error, part);
    ck_assert_ptr_null(strchr(error.text, '\n'));
}

START_TEST(json_places)
{
    const char *text =
        "{\"a\": 1,\n  \"\xc3\xa4\\\"]\": [true, null, 2.5,\n    {\"b\": \"x, {[\"}], \"c\": -7}\n";
    _cleanup_(document_freep) struct document *document = NULL;
    const struct node *root, *list, *b;
    struct error error;

    ck_assert_int_eq(parse(false, text, &document, &error), 0);
    root = document_root(document);
    list = root->first->next;
    b = list->last->first;
    ck_assert_uint_eq(root->count, 3);
    ck_assert_str_eq(list->key, "\xc3\xa4\"]");
    ck_assert_uint_eq(list->line, 2);
    ck_assert_uint_eq(list->column, 3);
    ck_assert_uint_eq(list->count, 4);
    ck_assert_uint_eq(list->first->column, 12); /* characters, not bytes */
    ck_assert_str_eq(b->string, "x, {[");
    ck_assert_uint_eq(b->line, 3);
    ck_assert_uint_eq(b->column, 6);
    ck_assert_int_eq(node_get(root, "c")->integer, -7);
    ck_assert_uint_eq(node_get(root, "c")->column, 22);
    node_error(document, b, &error, "bad %d", 7);
    ck_assert_str_eq(error.text, "a.json:3:6: \xc3\xa4\"][3].b: bad 7");
}
END_TEST

START_TEST(yaml_places)
{
    const char *text =
        "# comment\nsteps:\n  - name: one\n    duration_s: 20\n  - {name: \"7\", share: 2.5, off: ~}\n"
        "text: |\n  two\n  \tlines\non: true\nyes: 'true'\noctal: 010\nnone:\n";
    _cleanup_(document_freep) struct document *document = NULL;
    const struct node *root, *step;
    struct error error;

    ck_assert_msg(parse(true, text, &document, &error) == 0, "%s", error.text);
    root = document_root(document);
    step = node_get(root, "steps")->first;
    node_error(document, node_get(step, "duration_s"), &error, "too long");
    ck_assert_str_eq(error.text, "a.yaml:4:5: steps[0].duration_s: too long");
    ck_assert_int_eq(node_get(step, "duration_s")->integer, 20);
    ck_assert_str_eq(node_string(step->next, "name"), "7");
    ck_assert_int_eq(node_get(step->next, "share")->type, DOCUMENT_REAL);
    ck_assert_int_eq(node_get(step->next, "off")->type, DOCUMENT_NULL);
    ck_assert_str_eq(node_string(root, "text"), "two\n\tlines\n");
    ck_assert_int_eq(node_get(root, "on")->type, DOCUMENT_BOOLEAN);
    ck_assert_str_eq(node_string(root, "yes"), "true");
    ck_assert_str_eq(node_string(root, "octal"), "010");
    ck_assert_int_eq(node_get(root, "none")->type, DOCUMENT_NULL);
    ck_assert_ptr_null(node_get(root, "missing"));
}
END_TEST

START_TEST(json_hostile)
{
    assert_refused(false, "", EINVAL, "a.json:");
    assert_refused(false, "{\"a\": 1, \"a\": 2}", EINVAL, "duplicate");
    assert_refused(false, "{\"a\": 18446744073709551616}", EINVAL, "a.json:1:");
    assert_refused(false, "{\"a\": \"\\u0000\"}", EINVAL, "a.json:1:");
    assert_refused(false, "{} x", EINVAL, "a.json:1:");
    assert_refused(false, "{\"a\": \"unended", EINVAL, "a.json:1:");
    assert_refused(false, "{\"a\": \"\\", EINVAL, "a.json:1:");
    assert_refused(false, "[\n1,\n]", EINVAL, "a.json:3:");
    assert_refused(false, "{\"a\": \"\xff\"}", EINVAL, "a.json:1:");
    assert_refused(false, "\"a\nb\"", EINVAL, "a.json:1:");
    assert_refused(false, "{'a': 1}", EINVAL, "a.json:1:");
    assert_refused(false, "{\"a\": 1e999}", EINVAL, "a.json:1:");
}
END_TEST

START_TEST(json_limits)
{
    _cleanup_free_ char *deep = calloc(1, 100001), *many = calloc(1, 2 * DOCUMENT_NODES_MAX + 10);
    struct document *document;
    struct error error;

    memset(deep, '[', 100000);
    assert_refused(false, deep, E2BIG, "a.json:1:33: nested deeper than 32");
    many[0] = '[';
    for (size_t i = 0; i <= DOCUMENT_NODES_MAX; i++)
        memcpy(many + 1 + 2 * i, "0,", 2);
    strcpy(many + 2 * DOCUMENT_NODES_MAX + 2, "]");
    assert_refused(false, many, E2BIG, "more than 200000 values");
    memset(deep, ',', 100000);
    deep[0] = deep[99999] = '"';
    deep[100000] = '\0';
    ck_assert_int_eq(parse(false, deep, &document, &error), 0);
    document_free(document);
}
END_TEST

START_TEST(json_needs_no_end)
{
    const char text[] = {'"', '\\'};
    struct document *document = NULL;

    ck_assert_int_eq(document_parse_json(&document, "x", text, sizeof(text), NULL), -EINVAL);
    ck_assert_int_eq(document_parse_json(&document, "x", "1\0", 2, NULL), -EINVAL);
    ck_assert_int_eq(document_parse_json(&document, "x", "12", 1, NULL), 0);
    ck_assert_int_eq(document_root(document)->integer, 1);
    document_free(document);
}
END_TEST

START_TEST(yaml_hostile)
{
    assert_refused(true, "", EINVAL, "empty");
    assert_refused(true, "# nothing\n", EINVAL, "empty");
    assert_refused(true, "a:\n\tb: 1\n", EINVAL, "a.yaml:2:1: a tab can't indent");
    assert_refused(true, "a: 1\nb:\n  c: 1\na: 2\n", EINVAL, "a.yaml:4:1: a: given twice, first in line 1");
    assert_refused(true, "a: &x [1]\nb: 2\n", EINVAL, "a.yaml:1:4: anchors");
    assert_refused(true, "a: &a [1]\nb: &b [*a,*a,*a]\n", EINVAL, "anchors");
    assert_refused(true, "a: [1]\nb: *a\n", EINVAL, "a.yaml:2:4: aliases");
    assert_refused(true, "a: !!python/object x\n", EINVAL, "a.yaml:1:4: anchors and tags");
    assert_refused(true, "!x {a: 1}\n", EINVAL, "tags");
    assert_refused(true, "<<: {a: 1}\n", EINVAL, "a.yaml:1:1: merge keys");
    assert_refused(true, "a: 1\n---\nb: 2\n", EINVAL, "second document");
    assert_refused(true, "a: 18446744073709551616\n", EINVAL, "a.yaml:1:1: a: 18446744073709551616 is out");
    assert_refused(true, "a: 1e999\n", EINVAL, "out of the range");
    assert_refused(true, "a: \"\\0\"\n", EINVAL, "NUL");
    assert_refused(true, "[a]: 1\n", EINVAL, "plain text");
    assert_refused(true, "a: [1\n", EINVAL, "a.yaml:2:1:");
    assert_refused(true, "a: \"\x01\"\n", EINVAL, "a.yaml: byte");
    assert_refused(true, "a: \xff\n", EINVAL, "a.yaml: byte");
}
END_TEST

START_TEST(yaml_limits)
{
    char deep[200] = "";

    memset(deep, '[', 40);
    assert_refused(true, deep, E2BIG, "a.yaml:1:33: nested deeper than 32");
}
END_TEST

struct thing {
    bool flag;
    int64_t number, any, at;
    const char *text, *name, *uuid, *hash;
    const struct node *node, *list, *map;
};

static const struct field thing_fields[] = {
    {"flag", FIELD_BOOLEAN, offsetof(struct thing, flag)},
    {"number", FIELD_INTEGER, offsetof(struct thing, number), true, 1, 10},
    {"any", FIELD_INTEGER, offsetof(struct thing, any)},
    {"at", FIELD_TIME, offsetof(struct thing, at)},
    {"text", FIELD_STRING, offsetof(struct thing, text), false, 1, 5},
    {"name", FIELD_NAME, offsetof(struct thing, name)},
    {"uuid", FIELD_UUID, offsetof(struct thing, uuid)},
    {"hash", FIELD_HASH, offsetof(struct thing, hash)},
    {"node", FIELD_NODE, offsetof(struct thing, node)},
    {"list", FIELD_LIST, offsetof(struct thing, list), false, 1, 2},
    {"map", FIELD_MAP, offsetof(struct thing, map), false, 0, 1},
    {},
};

static int decode(const char *text, struct thing *thing, struct document **ret, struct error *error)
{
    ck_assert_int_eq(parse(true, text, ret, error), 0);
    return node_decode(*ret, document_root(*ret), thing_fields, thing, error);
}

static void assert_undecodable(const char *text, const char *part)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct error error = {0};
    struct thing thing = {0};

    ck_assert_msg(decode(text, &thing, &document, &error) == -EINVAL, "%s", text);
    assert_error(error, part);
}

START_TEST(decodes_by_table)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct thing thing = {.any = 5};
    struct error error;

    ck_assert_int_eq(
        decode("{flag: true, number: 10, at: \"1970-01-01T00:00:01Z\", text: abc, name: i-az1.x, "
               "list: [1], map: {}, node: 3}",
               &thing, &document, &error),
        0);
    ck_assert(thing.flag);
    ck_assert_int_eq(thing.number, 10);
    ck_assert_int_eq(thing.any, 5);
    ck_assert_int_eq(thing.at, USEC_PER_SEC);
    ck_assert_str_eq(thing.name, "i-az1.x");
    ck_assert_uint_eq(thing.list->count, 1);
    ck_assert_int_eq(thing.node->integer, 3);
}
END_TEST

START_TEST(refuses_by_table)
{
    assert_undecodable("[1]", "expected a map, got a list");
    assert_undecodable("flag: true", "'number' is missing");
    assert_undecodable("number: 0", "a.yaml:1:1: number: 0 is out of range; expected 1 to 10");
    assert_undecodable("number: 11", "out of range");
    assert_undecodable("number: '5'", "expected an integer, got a string");
    assert_undecodable("number: 5.0", "expected an integer, got a real number");
    assert_undecodable("number: ~", "expected an integer, got nothing");
    assert_undecodable("{number: 5,\n bogus: 1}",
                       "a.yaml:2:2: bogus: unknown field; expected one of flag, number");
    assert_undecodable("{number: 5, flag: 1}", "expected true or false");
    assert_undecodable("{number: 5, text: ''}", "text: 0 bytes long; expected 1 to 5");
    assert_undecodable("{number: 5, text: abcdef}", "6 bytes long");
    assert_undecodable("{number: 5, name: -x}", "'-x' is not a name");
    assert_undecodable("{number: 5, name: X}", "not a name");
    assert_undecodable("{number: 5, name: '../x'}", "not a name");
    assert_undecodable("{number: 5, uuid: x}", "not a UUID");
    assert_undecodable("{number: 5, hash: ab}", "not a hash");
    assert_undecodable("{number: 5, at: now}", "no time");
    assert_undecodable("{number: 5, list: []}", "0 entries; expected at least 1");
    assert_undecodable("{number: 5, list: [1, 2, 3]}", "3 entries; expected at most 2");
    assert_undecodable("{number: 5, map: []}", "expected a map");
}
END_TEST

START_TEST(goes_back_to_json)
{
    const char *text = "{\"a\":[1,2.5,\"x\",true,null,{}],\"b\":{\"c\":[]}}";
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_free_ char *again = NULL;
    json_t *json;

    ck_assert_int_eq(parse(false, text, &document, NULL), 0);
    json = node_to_json(document_root(document));
    again = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    ck_assert_str_eq(again, text);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {json_places,       yaml_places,       json_hostile, json_limits,
                                  json_needs_no_end, yaml_hostile,      yaml_limits,  decodes_by_table,
                                  refuses_by_table,  goes_back_to_json, NULL};

    return unit_run("document", tests);
}
