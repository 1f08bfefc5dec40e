/* What mandate.c and order.c share: decoding one kind of payload by its table. */
#pragma once

#include "document.h"

/** payload_decode() - parse JSON @payload, called @name in errors, into @ret by @fields; its field "schema"
 * must be `grivet.<name>/1` */
int payload_decode(struct document **ret_document, const char *name, const void *payload, size_t length,
                   const struct field *fields, void *ret, struct error *error);

/** payload_check_names() - are all entries of @list valid names, and none given twice? */
int payload_check_names(const struct document *document, const struct node *list, struct error *error);
