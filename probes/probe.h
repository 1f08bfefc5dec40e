/* Probes: what is asked of an endpoint, when, and which answer counts. */
#pragma once

#include "common/document.h"

/**
 * struct probe - one endpoint to watch, decoded from a mandate; pointers belong to its document
 * @interval_msec: 50..60000, kept by absolute time; @timeout_msec: at most the interval's 20-fold
 * @unhealthy_after, @healthy_after: consecutive answers that make a declaration, as the balancer counts
 * @stable_sec: healthy for so long = stable
 * @is_fresh: a new connection for each request, else one is kept
 * @status_min, @status_max: which codes count (`status: 200` or `status: "200-399"`; 200 when nothing is
 * said)
 * @assertions: map of JSON pointer (RFC 6901) to wanted value, or NULL
 */
struct probe {
    const char *name, *url;
    int64_t interval_msec, timeout_msec, unhealthy_after, healthy_after, stable_sec;
    bool is_fresh;
    int64_t status_min, status_max;
    const struct node *assertions;
};

/**
 * probe_decode() - one probe of a mandate, with located errors; only kind "http" (http:// or https:// URL) so
 * far Left out: unhealthy_after and healthy_after are 2, stable_s 3, connection fresh.
 */
int probe_decode(struct probe *ret, const struct document *document, const struct node *node,
                 struct error *error);

/** probe_accepts() - does this answer count as success? @status: HTTP status, 0 = no answer; @body: may be
 * NULL */
bool probe_accepts(const struct probe *probe, long status, const char *body, size_t length);
