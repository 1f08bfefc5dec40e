/* Whom a host believes: keys, the people they belong to, and what each may do (roots.json). */
#pragma once

#include "document.h"
#include "envelope.h"

enum roots_role {
    ROOTS_APPROVE = 1 << 0, /* sign mandates */
    ROOTS_HALT = 1 << 1,    /* sign halts */
    ROOTS_ORDER = 1 << 2,   /* sign orders, asks and acknowledgements: the coordinator */
};

struct roots_key {
    struct public_key key;
    char person[64];
    unsigned int roles;
};

struct roots {
    int64_t version;
    int64_t expires_usec;
    size_t n_keys;
    struct roots_key *keys;
};

/** roots_parse() - {"schema": "grivet.roots/1", "version", "expires_at", "keys": [{"public", "person",
 * "roles"}]} */
int roots_parse(struct roots **ret, const char *name, const void *json, size_t length, struct error *error);
int roots_load(struct roots **ret, const char *path, struct error *error);
struct roots *roots_free(struct roots *roots);
DEFINE_CLEANUP(struct roots *, roots_free)

/**
 * roots_require() - enough different people with @role have signed @envelope?
 * @people: how many are needed, >= 1
 * @now_usec: refuses expired roots, except for ROOTS_HALT: a halt outlives them
 *
 * One person counts once however many keys they have; one key counts once whatever its id.
 * Return: 0 or -EKEYREJECTED, with "signed by 1 of 2 people with role approve"
 */
int roots_require(const struct roots *roots, const struct envelope *envelope, enum roots_role role,
                  size_t people, int64_t now_usec, struct error *error);
