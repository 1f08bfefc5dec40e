/* Probes of kind "http": which URLs may be asked, and which answers count. */
#pragma once

#include "probe.h"

/** probe_http_check() - http:// or https://, a host, no user name, printable ASCII only */
int probe_http_check(const struct probe *probe, const struct document *document, const struct node *node,
                     struct error *error);
