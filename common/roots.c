/* Whom a host believes, and whether enough of them have signed: see roots.h. */
#include "roots.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "hands.h"
#include "io.h"

#define ROOTS_BYTES_MAX  (64 << 10)
#define ROOTS_KEYS_MAX   256
#define ROOTS_PEOPLE_MAX 16

struct roots_document {
    int64_t version, expires_usec;
    const struct node *keys;
};

struct roots_key_document {
    const char *public, *person;
    const struct node *roles;
};

static const struct field roots_fields[] = {
    FIELD_SCHEMA_IS("grivet.roots/1"),
    {"version", FIELD_INTEGER, offsetof(struct roots_document, version), true, 1, INT64_MAX},
    {"expires_at", FIELD_TIME, offsetof(struct roots_document, expires_usec), true},
    {"keys", FIELD_LIST, offsetof(struct roots_document, keys), true, 1, ROOTS_KEYS_MAX},
    {},
};

static const struct field key_fields[] = {
    {"public", FIELD_STRING, offsetof(struct roots_key_document, public), true},
    {"person", FIELD_NAME, offsetof(struct roots_key_document, person), true},
    {"roles", FIELD_LIST, offsetof(struct roots_key_document, roles), true, 1, 3},
    {},
};

/* By the bit of enum roots_role. */
static const char *const role_names[] = {"approve", "halt", "order"};

static int parse_role(const struct document *document, const struct node *node, unsigned int *ret,
                      struct error *error)
{
    for (size_t i = 0; i < ARRAY_SIZE(role_names); i++)
        if (node->type == DOCUMENT_STRING && strcmp(node->string, role_names[i]) == 0) {
            *ret |= 1 << i;
            return 0;
        }
    return node_error(document, node, error, "expected approve, halt or order");
}

/* One key for two people would make one person count as two. */
static int check_unique(const struct roots *roots, const struct document *document, const struct node *node,
                        const struct public_key *key, struct error *error)
{
    for (size_t i = 0; i < roots->n_keys; i++)
        if (memcmp(&roots->keys[i].key, key, sizeof(*key)) == 0)
            return node_error(document, node, error, "the same key as that of %s above",
                              roots->keys[i].person);
    return 0;
}

static int parse_key(struct roots *roots, const struct document *document, const struct node *node,
                     struct error *error)
{
    struct roots_key *key = &roots->keys[roots->n_keys];
    struct roots_key_document decoded = {0};
    int r;

    r = node_decode(document, node, key_fields, &decoded, error);
    if (r < 0)
        return r;
    if (public_key_parse(&key->key, decoded.public) < 0)
        return node_error(document, node_get(node, "public"), error, "not a key of 32 bytes in base64");
    r = check_unique(roots, document, node_get(node, "public"), &key->key, error);
    for (const struct node *role = decoded.roles->first; role && r == 0; role = role->next)
        r = parse_role(document, role, &key->roles, error);
    snprintf(key->person, sizeof(key->person), "%s", decoded.person);
    roots->n_keys += r == 0;
    return r;
}

int roots_parse(struct roots **ret, const char *name, const void *json, size_t length, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_(roots_freep) struct roots *roots = NULL;
    struct roots_document decoded = {0};
    int r;

    if (length > ROOTS_BYTES_MAX)
        return error_set(error, E2BIG, "%s: %zu bytes; at most %d are taken", name, length, ROOTS_BYTES_MAX);
    r = document_decode(&document, name, json, length, roots_fields, &decoded, error);
    if (r < 0)
        return r;
    roots = calloc(1, sizeof(*roots));
    if (!roots || !(roots->keys = calloc(decoded.keys->count, sizeof(*roots->keys))))
        return error_oom(error);
    roots->version = decoded.version;
    roots->expires_usec = decoded.expires_usec;
    for (const struct node *node = decoded.keys->first; node && r == 0; node = node->next)
        r = parse_key(roots, document, node, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(roots);
    return 0;
}

int roots_load(struct roots **ret, const char *path, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    r = io_check_root_only(path, error);
    if (r == 0)
        r = io_read_file(path, ROOTS_BYTES_MAX, &text, &length, error);
    return r < 0 ? r : roots_parse(ret, path, text, length, error);
}

struct roots *roots_free(struct roots *roots)
{
    if (roots)
        free(roots->keys);
    free(roots);
    return NULL;
}

static bool has_person(const char *const *people, size_t count, const char *person)
{
    while (count--)
        if (strcmp(people[count], person) == 0)
            return true;
    return false;
}

int roots_require(const struct roots *roots, const struct envelope *envelope, enum roots_role role,
                  size_t people, int64_t now_usec, struct error *error)
{
    const char *signers[ROOTS_PEOPLE_MAX], *kind = envelope_kind_name(envelope->kind);
    size_t count = 0;

    if (!has_signature_check)
        return 0;
    /* Stopping is cheaper than starting: whoever could halt once still can. */
    if (role != ROOTS_HALT && now_usec >= roots->expires_usec)
        return error_set(error, EKEYREJECTED,
                         "%s: the roots have expired: root has to put the coordinator's new roots.json into"
                         " /etc/grivet and restart grivetd",
                         kind);
    if (people < 1 || people > ROOTS_PEOPLE_MAX)
        return error_set(error, EINVAL, "%s: can't ask for %zu people; 1 to %d", kind, people,
                         ROOTS_PEOPLE_MAX);
    for (size_t i = 0; i < roots->n_keys && count < people; i++) {
        const struct roots_key *key = &roots->keys[i];

        if (key->roles & role && !has_person(signers, count, key->person) &&
            envelope_is_signed_by(envelope, &key->key))
            signers[count++] = key->person;
    }
    if (count < people)
        return error_set(error, EKEYREJECTED, "%s: signed by %zu of %zu people with role %s", kind, count,
                         people, role_names[__builtin_ctz(role)]);
    return 0;
}
