/* Whom no fault may cut off on this host, from the policy and from what the system uses. */
#pragma once

#include "policy.h"

#define LIFELINE_REPORTED_MAX 16
#define LIFELINE_GAPS_MAX     2

/** struct lifeline_reported - addresses at which the courier found coordinators that the policy has by name
 */
struct lifeline_reported {
    size_t count;
    struct endpoint endpoints[LIFELINE_REPORTED_MAX];
};

/**
 * lifeline_report() - remember @text ("10.0.0.2:8443") from the courier, who is not trusted: only addresses
 * on the port of a coordinator that the policy gives by name count, and only the courier's user may use them
 */
int lifeline_report(struct lifeline_reported *reported, const struct policy *policy, const char *text,
                    struct error *error);

/**
 * lifeline_make() - from the policy, and from the name servers in use, those behind a local stub included
 * @root: "" or, for tests, the folder in which the system's files are looked for; missing ones are no error
 */
void lifeline_make(struct lifeline *ret, const struct policy *policy, uid_t courier_uid,
                   const struct lifeline_reported *reported, const char *root);
/** lifeline_gaps() - what is missing from it, in words. Return: how many */
size_t lifeline_gaps(const struct lifeline *lifeline, const char *ret[LIFELINE_GAPS_MAX]);
/** lifeline_describe() - in words, warnings of what is missing included, for an answer; a JSON array owned by
 * the caller */
json_t *lifeline_describe(const struct lifeline *lifeline);
